package root_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// counting is a program that keeps a number in its memory and writes it to a file, again
// and again: after a restore it must go on, not begin anew.
const counting = `i=0; while :; do i=$((i+1)); echo $i >/tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.05; done`

// checkpointed is a running container that counts, and a place for its images.
type checkpointed struct {
	*container
	images string
}

func startCounting(t *testing.T, edit change) *checkpointed {
	t.Helper()
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	c := &checkpointed{startIn(t, e, e.Bundle(counting, edit)), filepath.Join(t.TempDir(), "images")}
	c.counts()
	return c
}

// count is what the container counted to.
func (c *checkpointed) count() int {
	b, err := os.ReadFile(filepath.Join(c.bundle, "rootfs", "tmp", "count"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// counts waits for the container to count on, and returns to what.
func (c *checkpointed) counts() int {
	c.t.Helper()
	before := c.count()
	eventually(c.t, "the container counts on", func() bool { return c.count() > before })
	return c.count()
}

// checkpoint dumps the container, which is then gone, and returns what it had counted to.
func (c *checkpointed) checkpoint(flags ...string) int {
	c.t.Helper()
	c.succeed(append(append([]string{"checkpoint", "--image-path", c.images}, flags...), c.id)...)
	wantFailure(c.t, c.Run("state", c.id), "does not exist")
	return c.count()
}

// restore makes the container from the images, and wants it to count on from a number.
func (c *checkpointed) restore(counted int, flags ...string) {
	c.t.Helper()
	c.succeed(append(append([]string{"restore", "-d", "--image-path", c.images, "-b", c.bundle}, flags...), c.id)...)
	if n := c.counts(); n < counted || n > counted+1000 {
		c.t.Errorf("it counted to %d before, and to %d after", counted, n)
	}
	st := c.State(c.id)
	equal(c.t, "status", specs.StateRunning, st.Status)
	c.pid = st.Pid
}

// succeed is MustRun that shows CRIU's log.
func (c *checkpointed) succeed(args ...string) {
	c.t.Helper()
	if r := c.Run(args...); r.Code != 0 {
		for _, log := range []string{"dump.log", "restore.log"} {
			if b, err := os.ReadFile(filepath.Join(c.images, log)); err == nil {
				c.t.Logf("the end of %s:\n%s", log, b[max(0, len(b)-5000):])
			}
		}
		c.t.Fatalf("%v: exit %d\nstdout: %s\nstderr: %s", args, r.Code, r.Stdout, r.Stderr)
	}
}

func TestRestoreGoesOnWhereCheckpointStopped(t *testing.T) {
	c := startCounting(t, nil)
	n := c.checkpoint()
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("after checkpoint: %v left", left)
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	c.restore(n, "--pid-file", pidFile)
	equal(t, "pid file", strconv.Itoa(c.pid), read(t, pidFile))

	// It is a container like any other.
	equal(t, "exec", "1", c.exec("readlink /proc/1/cwd | wc -l"))
	if ps := c.MustRun("ps", "-f", "json", c.id); !strings.Contains(ps, strconv.Itoa(c.pid)) {
		t.Errorf("ps lacks %d: %s", c.pid, ps)
	}
	c.MustRun("pause", c.id)
	equal(t, "status", specs.ContainerState("paused"), c.State(c.id).Status)
	c.MustRun("resume", c.id)
	n = c.counts()

	// And can be dumped again.
	c.images = filepath.Join(t.TempDir(), "again")
	c.checkpoint()
	c.restore(n)
	c.MustRun("kill", c.id, "KILL")
	c.WaitStatus(c.id, specs.StateStopped)
	c.MustRun("delete", c.id)
}

func TestCheckpointLeaveRunning(t *testing.T) {
	c := startCounting(t, nil)
	c.succeed("checkpoint", "--leave-running", "--image-path", c.images, c.id)
	equal(t, "pid", c.pid, c.State(c.id).Pid)
	n := c.counts()
	c.MustRun("delete", "--force", c.id)
	c.restore(0)
	if m := c.count(); m > n+1000 {
		t.Errorf("restored to %d", m)
	}
}

func TestCheckpointOfAPausedContainer(t *testing.T) {
	c := startCounting(t, nil)
	c.MustRun("pause", c.id)
	c.restore(c.checkpoint())
}

func TestCheckpointPreDumps(t *testing.T) {
	harness.NeedRoot(t)
	if out, err := exec.Command("criu", "check", "--feature", "mem_dirty_track").CombinedOutput(); err != nil {
		harness.Lacks(t, harness.CRIU, "no memory tracking: "+string(out))
	}
	c := startCounting(t, nil)
	base := t.TempDir()
	c.succeed("checkpoint", "--pre-dump", "--image-path", filepath.Join(base, "1"), c.id)
	n := c.counts()
	c.succeed("checkpoint", "--pre-dump", "--image-path", filepath.Join(base, "2"), "--parent-path", "../1", c.id)
	c.counts()
	c.images = filepath.Join(base, "3")
	wantFailure(t, c.Run("checkpoint", "--image-path", c.images, "--parent-path", "/tmp", c.id), "--parent-path: /tmp is not relative")
	wantFailure(t, c.Run("checkpoint", "--image-path", c.images, "--parent-path", "../none", c.id), "--parent-path:", "no such file")
	if m := c.checkpoint("--parent-path", "../2"); m < n {
		t.Errorf("counted to %d, then %d", n, m)
	}
	c.restore(n)
}

// seen is the mounts of a process: what, where and how.
func seen(t *testing.T, pid int) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(proc(t, pid, "mountinfo")) {
		before, after, _ := strings.Cut(line, " - ")
		f := strings.Fields(before)
		options := strings.Split(f[5], ",")
		slices.Sort(options)
		list = append(list, f[3]+" "+f[4]+" "+strings.Join(options, ",")+" "+strings.Fields(after)[0])
	}
	slices.Sort(list)
	return list
}

func TestRestoreKeepsMounts(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	write(t, dir+"/ro/file", "ro")
	write(t, dir+"/rw/file", "rw")
	write(t, dir+"/tree/sub/hidden", "")
	write(t, dir+"/single", "single")
	if err := unix.Mount("tmpfs", dir+"/tree/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir+"/tree/sub", unix.MNT_DETACH) })
	write(t, dir+"/tree/sub/below", "below")
	tree := bind(dir+"/tree", "/tree")
	tree.Options = []string{"rbind"}
	c := startCounting(t, withMounts(
		bind(dir+"/ro", "/mnt/ro", "ro", "nosuid", "nodev", "noexec"), bind(dir+"/rw", "/link/rw"), tree, bind(dir+"/single", "/etc/single", "ro"),
	))
	before := seen(t, c.pid)
	n := c.checkpoint()

	// Into a root that has none of the mount points.
	for _, name := range []string{"mnt/ro", "mnt", "link/rw", "link", "tree", "etc/single"} {
		if err := os.Remove(filepath.Join(c.bundle, "rootfs", name)); err != nil {
			t.Fatal(err)
		}
	}
	c.restore(n)
	equal(t, "mounts", before, seen(t, c.pid))
	equal(t, "content", "ro rw below single", c.exec("for f in /mnt/ro/file /link/rw/file /tree/sub/below /etc/single; do cat $f; echo; done | xargs echo"))
	equal(t, "writing", "1 0", c.exec("touch /mnt/ro/x 2>/dev/null; echo -n \"$? \"; touch /link/rw/x; echo $?"))
	mounts := read(t, "/proc/self/mountinfo")
	if strings.Contains(mounts, c.bundle) || strings.Contains(mounts, "criu") {
		t.Errorf("restore left mounts on the host: %s", mounts)
	}
}

func TestRestoreTerminal(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	con := newConsole(t)
	bundle := e.Bundle("while read x; do echo got $x; tty; done", withTerminal(nil))
	id, images := e.ID("c"), filepath.Join(t.TempDir(), "images")
	e.MustRun("run", "-d", "--console-socket", con.path, "-b", bundle, id)
	type_ := func(master *os.File, text string) {
		t.Helper()
		if _, err := master.WriteString(text + "\n"); err != nil {
			t.Fatal(err)
		}
		var screen strings.Builder
		b := make([]byte, 1000)
		for !strings.Contains(screen.String(), "/dev/pts/0") {
			n, err := master.Read(b)
			if err != nil {
				t.Fatalf("%v after %q", err, screen.String())
			}
			screen.Write(b[:n])
		}
		if !strings.Contains(screen.String(), "got "+text) {
			t.Errorf("screen %q", screen.String())
		}
	}
	master := con.take()
	type_(master, "before")
	e.MustRun("checkpoint", "--image-path", images, id)
	e.MustRun("restore", "-d", "--console-socket", con.path, "--image-path", images, "-b", bundle, id)
	type_(con.take(), "after")
	wantFailure(t, e.Run("restore", "-d", "--image-path", images, "-b", bundle, e.ID("d")), "cannot allocate tty if runc will detach without setting console socket")
}

func TestRestoreStdioPipes(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	bundle := e.Bundle("while read x; do echo got $x; done; echo end", nil)
	id, images := e.ID("c"), filepath.Join(t.TempDir(), "images")
	talk := func(args ...string) {
		t.Helper()
		in, toIn := pipe(t)
		fromOut, out := pipe(t)
		r := e.RunWith(func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out }, args...)
		equal(t, "exit code", 0, r.Code)
		_ = in.Close()
		_ = out.Close()
		if _, err := toIn.WriteString("hello\n"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := fromOut.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "answer", "got hello\n", string(b[:n]))
	}
	talk("run", "-d", "-b", bundle, id)
	e.MustRun("checkpoint", "--image-path", images, id)
	var keys []string
	if err := json.Unmarshal([]byte(read(t, images+"/descriptors.json")), &keys); err != nil || len(keys) != 3 || !strings.HasPrefix(keys[0], "pipe:") {
		t.Errorf("descriptors.json %v, %v: want three pipes", keys, err)
	}
	talk("restore", "-d", "--image-path", images, "-b", bundle, id)
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

func TestRestoreInTheForeground(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	bundle := e.Bundle("trap 'exit 7' USR1; while :; do sleep 0.1; done", nil)
	id, images := e.ID("c"), filepath.Join(t.TempDir(), "images")
	e.MustRun("run", "-d", "-b", bundle, id)
	e.MustRun("checkpoint", "--image-path", images, id)
	pid := filepath.Join(t.TempDir(), "pid")
	done := make(chan harness.Result)
	var cmd *exec.Cmd
	go func() {
		done <- e.RunWith(func(c *exec.Cmd) { cmd = c }, "restore", "--pid-file", pid, "--image-path", images, "-b", bundle, id)
	}()
	eventually(t, "it runs", func() bool { _, err := os.Stat(pid); return err == nil })
	if err := cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	equal(t, "exit code", 7, (<-done).Code)
	wantFailure(t, e.Run("state", id), "does not exist")
}

func TestRestoreUserNamespace(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	c := &checkpointed{&container{Env: e, t: t, id: e.ID("c"), bundle: e.Bundle(counting, mapped)}, filepath.Join(t.TempDir(), "images")}
	harness.Reachable(t, filepath.Dir(c.images)) // CRIU reads them as the container's root
	// With pipes: a file that is not its own the container's root could not open again.
	run := func(args ...string) {
		t.Helper()
		_, stdout := pipe(t)
		r := c.RunWith(func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = stdout, stdout }, append(args, "-b", c.bundle, c.id)...)
		equal(t, "exit code", 0, r.Code)
		c.counts()
		c.pid = c.State(c.id).Pid
	}
	run("run", "-d")
	n := c.checkpoint()
	run("restore", "-d", "--image-path", c.images)
	if c.count() < n {
		t.Errorf("it counted to %d before, and to %d after", n, c.count())
	}
	equal(t, "uid_map", "0 100000 65536", strings.Join(strings.Fields(proc(t, c.pid, "uid_map")), " "))
}

func TestRestoreTCPConnections(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	// Each end answers the other's line with the next number.
	const talk = `echo 'while read i; do echo $((i+1)); echo $((i+1)) >/tmp/count; sleep 0.05; done' >/tmp/end
		nc -l -p 7777 -e sh /tmp/end & sleep 1
		nc 127.0.0.1 7777 -e sh -c 'echo 1; . /tmp/end'`
	bundle := e.Bundle(talk, nil)
	c := &checkpointed{startIn(t, e, bundle), filepath.Join(t.TempDir(), "images")}
	c.counts()
	wantFailure(t, c.Run("checkpoint", "--image-path", c.images, c.id), "criu failed: type DUMP errno", "log file: "+c.images+"/dump.log")
	c.counts() // a dump that failed changes nothing
	n := c.checkpoint("--tcp-established")
	wantFailure(t, c.Run("restore", "-d", "--image-path", c.images, "-b", c.bundle, c.id), "criu failed: type RESTORE errno", "log file: "+c.images+"/restore.log")
	c.restore(n, "--tcp-established")
}

func TestRestoreSetsCgroupLimits(t *testing.T) {
	limit := func(bytes int64) change {
		return func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &bytes}
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: new(int64(33))}
		}
	}
	c := startCounting(t, limit(64<<20))
	n := c.checkpoint()
	// The limits are those of config.json, under whatever name.
	c.EditConfig(c.bundle, limit(96<<20))
	c.id = c.ID("other")
	c.restore(n)
	memory, pids := "memory.limit_in_bytes", "pids.max"
	dir := func(controller string) string { return cgroupOf(t, c.pid, controller) }
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		memory = "memory.max"
		dir = func(string) string {
			_, path, _ := strings.Cut(proc(t, c.pid, "cgroup"), "::")
			return "/sys/fs/cgroup" + path
		}
	}
	equal(t, "memory limit", "100663296", read(t, filepath.Join(dir("memory"), memory)))
	equal(t, "pids limit", "33", read(t, filepath.Join(dir("pids"), pids)))
	if got := filepath.Base(dir("pids")); got != c.id {
		t.Errorf("it is in cgroup %s, not %s", got, c.id)
	}
	if stray := strings.Count(proc(t, c.pid, "cgroup"), "-c\n"); stray > 0 {
		t.Errorf("in %d hierarchies it is in the old cgroup: %s", stray, proc(t, c.pid, "cgroup"))
	}
}

func TestRestoreRunsHooks(t *testing.T) {
	l := newHookLog(t)
	c := startCounting(t, l.all)
	n := c.checkpoint()
	equal(t, "order before", "prestart1 prestart2 createRuntime createContainer startContainer poststart poststop", l.order())
	if err := os.Remove(filepath.Join(l.dir, "order")); err != nil {
		t.Fatal(err)
	}
	c.restore(n)
	equal(t, "order", "prestart1 prestart2 createRuntime poststart", l.order())
	equal(t, "pid of createRuntime", c.pid, l.state("createRuntime").Pid)
	equal(t, "status for poststart", specs.StateRunning, l.state("poststart").Status)
}

func TestRestoreJoinsNetworkNamespace(t *testing.T) {
	harness.NeedRoot(t)
	netns := filepath.Join(t.TempDir(), "netns")
	write(t, netns, "")
	if out, err := exec.Command("unshare", "--net="+netns, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(netns, unix.MNT_DETACH) })
	c := startCounting(t, func(s *specs.Spec) {
		for i := range s.Linux.Namespaces {
			if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
				s.Linux.Namespaces[i].Path = netns
			}
		}
	})
	c.restore(c.checkpoint())
	var want unix.Stat_t
	if err := unix.Stat(netns, &want); err != nil {
		t.Fatal(err)
	}
	equal(t, "network namespace", "net:["+strconv.FormatUint(want.Ino, 10)+"]", namespacesOf(t, c.pid)["net"])
}

func TestRestoreThatFailsLeavesNothing(t *testing.T) {
	c := startCounting(t, nil)
	n := c.checkpoint()
	fail := func(name string, edit change, flags []string, words ...string) {
		t.Run(name, func(t *testing.T) {
			config := read(t, filepath.Join(c.bundle, "config.json"))
			defer write(t, filepath.Join(c.bundle, "config.json"), config)
			c.EditConfig(c.bundle, edit)
			wantFailure(t, c.Run(append(append([]string{"restore", "-d", "--image-path", c.images, "-b", c.bundle}, flags...), c.id)...), words...)
			if left := c.Leftovers(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	hook := func(set func(*specs.Hooks, []specs.Hook)) change {
		return func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{}
			set(s.Hooks, []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no; exit 3"}}})
		}
	}
	same := func(*specs.Spec) {}
	fail("a hook fails", hook(func(h *specs.Hooks, l []specs.Hook) { h.CreateRuntime = l }), nil, "hooks.createRuntime[0]", "exit status 3, output: no")
	fail("a late hook fails", hook(func(h *specs.Hooks, l []specs.Hook) { h.Poststart = l }), nil, "hooks.poststart[0]", "exit status 3, output: no")
	fail("no place for the pid", same, []string{"--pid-file", "/none/pid"}, "--pid-file: /none/pid: no such file or directory")
	fail("no images", same, []string{"--image-path", filepath.Dir(c.images)}, "--image-path:", "descriptors.json", "no such file")
	c.restore(n)
	wantFailure(t, c.Run("restore", "-d", "--image-path", c.images, "-b", c.bundle, c.id), "container with given ID already exists")
	c.MustRun("delete", "--force", c.id)
	if err := os.Remove(filepath.Join(c.images, "core-1.img")); err != nil {
		t.Fatal(err)
	}
	fail("an image is missing", same, nil, "criu failed: type RESTORE errno", "Error (criu/", "log file: "+c.images+"/restore.log")
}
