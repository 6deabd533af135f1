package libcontainer

import (
	"errors"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// Start lets a created container run its program: startContainer hooks first, in the
// container, and poststart hooks after. The program's execve failing is an error here.
// notifySocket is the caller's NOTIFY_SOCKET, "" for none: with it, Start returns when the
// container tells that it is ready, or ends.
func (r *Runtime) Start(id, notifySocket string) error {
	if err := launch.ProtectExe(); err != nil { // startContainer hooks
		return err
	}
	dir, err := state.Open(r.Root, id)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Lock(lockWait); err != nil {
		return err
	}
	st, err := dir.Load()
	if errors.Is(err, state.ErrIncomplete) {
		return ErrNotExist
	}
	if err != nil {
		return err
	}
	status, err := statusOf(st)
	if err != nil {
		return err
	}
	switch status {
	case Stopped:
		return fault.ContainerNotRunning.Errorf("cannot start a container that has stopped")
	case Created:
		return r.start(dir, st, notifySocket)
	case Paused:
		return fault.ContainerPaused.Errorf("cannot start a container in the paused state")
	default:
		return fault.ContainerRunning.Errorf("cannot start an already running container")
	}
}

func (r *Runtime) start(dir *state.Dir, st *state.State, notifySocket string) error {
	raw, err := dir.Config()
	if err != nil {
		return err
	}
	spec, rawSeccomp, err := bundle.Decode(raw)
	if err != nil {
		return err
	}
	if h := spec.Hooks; h != nil && len(h.StartContainer) > 0 {
		if err := r.startContainerHooks(spec, rawSeccomp, st); err != nil {
			return errors.Join(err, killAndWait(st))
		}
	}
	socket, err := connectStart(dir)
	if err != nil {
		return fault.StateDamaged.Errorf("start socket: %w", err)
	}
	defer unix.Close(socket)
	notify, err := listenNotify(dir, notifySocket)
	if err != nil {
		return err
	}
	defer notify.close()
	st.Started = true
	if err := dir.Save(st); err != nil {
		return err
	}
	oom := watchOOM(spec, cgroup.FromState(st.CgroupPaths))
	err = launch.Start(socket, spec.Process.Args)
	if errors.Is(err, launch.ErrVanished) {
		// It may have been killed while it waited, before we counted; and by any limit: the
		// program has not run.
		oom.before, oom.tight = 0, true
	}
	if (err == nil || errors.Is(err, launch.ErrVanished)) && oom.killedInit(st.Init) {
		return oomError()
	}
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(dir.FD(), state.StartSocket, 0); err != nil && err != unix.ENOENT {
		return fault.StateFailed.Errorf("remove start socket: %w", err)
	}
	if err := poststart(spec.Hooks, ociState(st, Running)); err != nil {
		return errors.Join(err, killAndWait(st))
	}
	return r.awaitReady(dir, st, notify)
}

// awaitReady passes on that the container is ready. Others may have it meanwhile.
func (r *Runtime) awaitReady(dir *state.Dir, st *state.State, notify *notifier) error {
	if notify == nil {
		return nil
	}
	if err := dir.Unlock(); err != nil {
		return err
	}
	pidfd, err := openInit(st.Init)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if err := notify.forward(pidfd, st.Init.PID); err != nil {
		r.warn(err.Error()) // the container runs all the same
	}
	return nil
}

func (r *Runtime) startContainerHooks(spec *specs.Spec, rawSeccomp []byte, st *state.State) error {
	facts, err := host.ProbeSelf()
	if err != nil {
		return err
	}
	filter, err := loadFilter(rawSeccomp, facts)
	if err != nil {
		return err
	}
	containerState, err := insideState(st, Created)
	if err != nil {
		return err
	}
	return runHooks(spec.Hooks, "startContainer", containerState, r.inContainer(st, spec, filter))
}

// listenStart makes the socket on which the container waits. Its path goes through the
// directory's descriptor: a unix socket's address holds no more than 107 bytes.
func listenStart(dir *state.Dir) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, startAddress(dir)); err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func connectStart(dir *state.Dir) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, startAddress(dir)); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func startAddress(dir *state.Dir) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir.FD()) + "/" + state.StartSocket}
}
