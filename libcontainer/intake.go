package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/seccomp"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/systemd"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// intake is a bundle that was read, validated and planned: all that can go wrong
// without touching the system has gone right.
type intake struct {
	dir    string // the bundle, absolute and without symlinks
	rootfs string
	raw    []byte
	spec   *specs.Spec
	facts  *host.Facts
	plan   *plan.Plan
	filter *plan.Seccomp // nil without one
	start  bool
}

// takeIn reads, validates and plans a bundle. It changes the working directory to the
// bundle, where hooks expect to be.
func (r *Runtime) takeIn(o *CreateOptions, start bool) (*intake, error) {
	if err := state.CheckID(o.ID); err != nil {
		return nil, err
	}
	dir, err := enterBundle(o.Bundle)
	if err != nil {
		return nil, err
	}
	b, err := bundle.LoadAs(dir, o.ConfigFile)
	if err != nil {
		return nil, err
	}
	facts, err := factsFor(b.Spec)
	if err != nil {
		return nil, err
	}
	if r.Driver == plan.DriverSystemd && !systemd.Booted() {
		return nil, fault.Unsupported.At("--systemd-cgroup", systemd.ErrNotRunning)
	}
	if b.Spec.Root != nil {
		plan.StripRootfs(b.Spec.Mounts, rootfsPath(dir, b.Spec.Root.Path))
	}
	if problems := validate.Spec(b.Spec, facts); len(problems) > 0 {
		return nil, &validate.Error{Problems: problems}
	}
	for _, w := range validate.Warnings(b.Spec, facts) {
		r.warn(w.String())
	}
	in := &intake{dir: dir, raw: b.Raw, spec: b.Spec, facts: facts, start: start}
	if in.rootfs, err = checkRootfs(dir, b.Spec.Root.Path); err != nil {
		return nil, err
	}
	if err := checkProcBinds(dir, b.Spec.Mounts); err != nil {
		return nil, err
	}
	if err := checkDescriptors(o.PreserveFDs + o.ListenFDs); err != nil {
		return nil, err
	}
	passSockets(b.Spec.Process, o.ListenFDs)
	if o.NotifySocket != "" || o.notifyDir {
		prepareNotify(b.Spec, r.Root, o.ID)
	}
	return in, in.compile(r, o, b.RawSeccomp)
}

// compile makes the plan.
func (in *intake) compile(r *Runtime, o *CreateOptions, rawSeccomp []byte) error {
	var err error
	if in.filter, err = loadFilter(rawSeccomp, in.facts); err != nil {
		return err
	}
	r.traceFilter(in.filter)
	input := &plan.Input{
		Spec: in.spec, Facts: in.facts, ID: o.ID, Bundle: in.dir, Rootfs: in.rootfs, Seccomp: in.filter,
		Start: in.start, NoPivot: o.NoPivot, NoNewKeyring: o.NoNewKeyring,
		PreserveFDs: o.PreserveFDs + o.ListenFDs, OptionalCgroups: r.Rootless && r.Driver == plan.DriverFiles && plan.CgroupsOptional(in.spec, in.facts),
		Driver: r.Driver, UserManager: r.Driver == plan.DriverSystemd && userManager(in.facts),
	}
	if l := in.spec.Linux; l != nil && strings.HasSuffix(l.RootfsPropagation, "shared") {
		if input.RootfsMount, err = mountPointOf(in.rootfs); err != nil {
			return fault.LaunchFailed.At("linux.rootfsPropagation", err)
		}
	}
	if in.plan, err = plan.Create(input); err != nil {
		return err
	}
	r.trace(in.plan)
	return nil
}

func (in *intake) newNamespace(kind specs.LinuxNamespaceType) bool {
	if in.spec.Linux == nil {
		return false
	}
	for _, n := range in.spec.Linux.Namespaces {
		if n.Type == kind {
			return n.Path == ""
		}
	}
	return false
}

// enterBundle changes to the bundle and returns its path without symlinks.
func enterBundle(dir string) (string, error) {
	if err := unix.Chdir(dir); err != nil {
		return "", fault.BundleUnreadable.Atf("--bundle", "chdir %s: %w", dir, err)
	}
	dir, err := unix.Getwd()
	if err != nil {
		return "", fault.BundleUnreadable.At("--bundle", err)
	}
	return dir, nil
}

// checkRootfs makes sure that root.path is a directory and no symlink leads to it: the
// path is used again, by name, when the child binds it.
func checkRootfs(bundleDir, rootPath string) (string, error) {
	rootfs := rootfsPath(bundleDir, rootPath)
	fd, err := unix.Openat2(unix.AT_FDCWD, rootfs, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ELOOP) {
		return "", fault.BundleUnreadable.Atf("root.path", "rootfs (%q) must not be or lie behind a symlink: %w", rootfs, err)
	}
	if err != nil {
		return "", fault.BundleUnreadable.Atf("root.path", "rootfs (%q): %w", rootfs, err)
	}
	_ = unix.Close(fd)
	if rootfs == "/" {
		return "", fault.ConfigInvalid.Atf("root.path", "rootfs must not be the host's root")
	}
	return rootfs, nil
}

// rootfsPath is root.path made absolute.
func rootfsPath(bundleDir, rootPath string) string {
	if path.IsAbs(rootPath) {
		return path.Clean(rootPath)
	}
	return path.Join(bundleDir, rootPath)
}

// checkProcBinds makes sure that what is bound on /proc is a procfs: an image's volume there
// would be taken for one (CVE-2019-16884). Other mounts on /proc are validate's business.
func checkProcBinds(bundleDir string, mounts []specs.Mount) error {
	for i := range mounts {
		m := &mounts[i]
		bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if !bind || slices.Contains(m.Options, "remount") || path.Clean("/"+m.Destination) != "/proc" {
			continue
		}
		source := m.Source
		if !path.IsAbs(source) {
			source = path.Join(bundleDir, source)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(source, &fs); err != nil {
			return fault.ConfigInvalid.Atf(fmt.Sprintf("mounts[%d].source", i), "statfs %s: %w", source, err)
		}
		if fs.Type != unix.PROC_SUPER_MAGIC {
			return fault.ConfigInvalid.Atf(fmt.Sprintf("mounts[%d]", i), "%q cannot be mounted because it is not of type proc", "/proc")
		}
	}
	return nil
}

// checkDescriptors makes sure that what --preserve-fds and LISTEN_FDS name was handed down:
// a descriptor that closes on execve(2) is one of this process's own.
func checkDescriptors(count int) error {
	for fd := 3; fd < 3+count; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			err = unix.EBADF
		}
		if err != nil {
			return fault.FlagFailed.Atf("--preserve-fds", "unable to stat preserved-fd %d (of %d): %w", fd-3, count, err)
		}
	}
	return nil
}

// passSockets tells the process of sockets that it inherits, sd_listen_fds(3).
func passSockets(p *specs.Process, count int) {
	if count > 0 {
		p.Env = append(p.Env, "LISTEN_FDS="+strconv.Itoa(count), "LISTEN_PID=1")
	}
}

// loadFilter returns the compiled filter of linux.seccomp, nil without one.
func loadFilter(raw []byte, facts *host.Facts) (*plan.Seccomp, error) {
	if raw == nil {
		return nil, nil //nolint:nilnil // no filter is no error
	}
	uid := int(facts.UID)
	if facts.UserNS && uid == 0 {
		uid = -1 // root of a user namespace (rootless podman) can't write root's cache
	}
	f, err := seccomp.Load(raw, seccomp.CacheDir(uid, os.Getenv("XDG_RUNTIME_DIR")))
	if err != nil {
		return nil, err
	}
	const waits = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	if f.Flags&waits != 0 && facts.Lacks(host.WaitKillable) && !seccomp.Takes(waits) {
		return nil, fault.Unsupported.Atf("linux.seccomp.flags", "%s", host.WaitKillable.Needed())
	}
	if len(f.Instructions) == 0 {
		return nil, nil //nolint:nilnil // a profile that says nothing
	}
	return &plan.Seccomp{
		Instructions: f.Instructions, Flags: f.Flags, Notify: f.Notify,
		ListenerPath: f.ListenerPath, ListenerMetadata: f.ListenerMetadata,
	}, nil
}

// now is the time in the form that state.json keeps.
func now() time.Time { return time.Now().UTC() }
