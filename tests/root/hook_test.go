package root_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// hookLog is a directory in which hooks leave what they saw. The container has it, too, at
// the same path, for the hooks that run inside.
type hookLog struct {
	t   *testing.T
	dir string
}

func newHookLog(t *testing.T) *hookLog {
	t.Helper()
	harness.NeedRoot(t)
	dir := t.TempDir()
	harness.Reachable(t, dir)
	return &hookLog{t, dir}
}

// hook writes its name into the common order file, and what it sees into files of its own.
func (l *hookLog) hook(name string) specs.Hook {
	script := `echo ` + name + ` >>` + l.dir + `/order
cat >` + l.dir + `/` + name + `.state
for ns in pid net mnt uts ipc; do readlink /proc/self/ns/$ns; done >` + l.dir + `/` + name + `.ns
echo "$0 $* A=$A HOME=$HOME" >` + l.dir + `/` + name + `.env
pwd >` + l.dir + `/` + name + `.pwd`
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script, name, "argument"}, Env: []string{"A=1", "PATH=/usr/bin:/bin"}}
}

func (l *hookLog) all(s *specs.Spec) {
	s.Mounts = append(s.Mounts, bind(l.dir, l.dir))
	s.Annotations = map[string]string{"colour": "blue"}
	s.Hooks = &specs.Hooks{
		Prestart:        []specs.Hook{l.hook("prestart1"), l.hook("prestart2")}, //nolint:staticcheck // deprecated, and still used by Docker
		CreateRuntime:   []specs.Hook{l.hook("createRuntime")},
		CreateContainer: []specs.Hook{l.hook("createContainer")},
		StartContainer:  []specs.Hook{l.hook("startContainer")},
		Poststart:       []specs.Hook{l.hook("poststart")},
		Poststop:        []specs.Hook{l.hook("poststop")},
	}
}

func (l *hookLog) order() string {
	return strings.Join(strings.Fields(read(l.t, filepath.Join(l.dir, "order"))), " ")
}

func (l *hookLog) state(name string) specs.State {
	l.t.Helper()
	var st specs.State
	if err := json.Unmarshal([]byte(read(l.t, filepath.Join(l.dir, name+".state"))), &st); err != nil {
		l.t.Fatal(err)
	}
	return st
}

func TestHooks(t *testing.T) {
	l := newHookLog(t)
	e := harness.New(t)
	id := e.ID("c")
	bundle := e.Bundle(sleeper, l.all)
	e.MustRun("create", "-b", bundle, id)
	equal(t, "hooks after create", "prestart1 prestart2 createRuntime createContainer", l.order())
	pid := e.State(id).Pid
	inside := namespacesOf(t, pid)
	e.MustRun("start", id)
	equal(t, "hooks after start", "prestart1 prestart2 createRuntime createContainer startContainer poststart", l.order())
	e.MustRun("kill", id, "KILL")
	e.WaitStatus(id, specs.StateStopped)
	e.MustRun("delete", id)
	equal(t, "hooks after delete", "prestart1 prestart2 createRuntime createContainer startContainer poststart poststop", l.order())

	host := namespacesOf(t, os.Getpid())
	for name, status := range map[string]specs.ContainerState{
		"prestart1": specs.StateCreated, "createRuntime": specs.StateCreating, "createContainer": specs.StateCreating,
		"startContainer": specs.StateCreated, "poststart": specs.StateRunning, "poststop": specs.StateStopped,
	} {
		st := l.state(name)
		wantPID := pid
		switch {
		case status == specs.StateStopped:
			wantPID = 0
		case strings.HasSuffix(name, "Container"):
			wantPID = 1 // as the hook sees it
		}
		equal(t, name+": state", []any{id, status, wantPID, bundle, map[string]string{"colour": "blue"}},
			[]any{st.ID, st.Status, st.Pid, st.Bundle, st.Annotations})
		equal(t, name+": arguments and environment", name+" argument A=1 HOME=", read(t, filepath.Join(l.dir, name+".env")))
		want := host
		if strings.HasSuffix(name, "Container") {
			want = inside
		}
		var files []string
		for _, file := range []string{"pid", "net", "mnt", "uts", "ipc"} {
			files = append(files, want[file])
		}
		equal(t, name+": namespaces", strings.Join(files, "\n"), read(t, filepath.Join(l.dir, name+".ns")))
	}
	equal(t, "createRuntime starts in the bundle", bundle, read(t, filepath.Join(l.dir, "createRuntime.pwd")))
	equal(t, "startContainer starts in the root", "/", read(t, filepath.Join(l.dir, "startContainer.pwd")))
}

func TestHooksOfRun(t *testing.T) {
	l := newHookLog(t)
	e := harness.New(t)
	e.MustRun("run", "-b", e.Bundle("echo program >>"+l.dir+"/order; sleep 0.5", l.all), e.ID("c"))
	got := l.order()
	// The program and poststart hooks run at the same time.
	if !strings.HasPrefix(got, "prestart1 prestart2 createRuntime createContainer startContainer ") || !strings.HasSuffix(got, " poststop") ||
		!strings.Contains(got, "program") || !strings.Contains(got, "poststart") {
		t.Errorf("order: %s", got)
	}
}

// The hooks that fail, or take too long, and which command has to say so.
var hookKinds = []struct {
	name    string
	set     func(*specs.Hooks, specs.Hook)
	command string
}{
	{"prestart", func(h *specs.Hooks, k specs.Hook) { h.Prestart = []specs.Hook{k} }, "create"}, //nolint:staticcheck // deprecated, and still used by Docker
	{"createRuntime", func(h *specs.Hooks, k specs.Hook) { h.CreateRuntime = []specs.Hook{k} }, "create"},
	{"createContainer", func(h *specs.Hooks, k specs.Hook) { h.CreateContainer = []specs.Hook{k} }, "create"},
	{"startContainer", func(h *specs.Hooks, k specs.Hook) { h.StartContainer = []specs.Hook{k} }, "start"},
	{"poststart", func(h *specs.Hooks, k specs.Hook) { h.Poststart = []specs.Hook{k} }, "start"},
}

func TestFailingHook(t *testing.T) {
	harness.NeedRoot(t)
	shell := func(script string, timeout *int) specs.Hook {
		return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Timeout: timeout, Env: []string{"PATH=/bin"}}
	}
	for _, k := range hookKinds {
		for name, tc := range map[string]struct {
			hook  specs.Hook
			words []string
		}{
			"fails":       {shell("echo because >&2; exit 3", nil), []string{"exit status 3", "because"}},
			"is missing":  {specs.Hook{Path: "/none/hook"}, []string{"no such file or directory"}},
			"hangs":       {shell("sleep 30", new(1)), []string{"timed out"}},
			"is a signal": {shell("kill -9 $$", nil), []string{"signal"}},
		} {
			t.Run(k.name+" "+name, func(t *testing.T) {
				t.Parallel() // some of them wait
				hookFails(t, k.command, tc.hook, k.set, append(tc.words, "hooks."+k.name+"[0]"))
			})
		}
	}
}

// hookFails wants a command to report that a hook has failed, with these words.
func hookFails(t *testing.T, command string, hook specs.Hook, set func(*specs.Hooks, specs.Hook), words []string) {
	t.Helper()
	e := harness.New(t)
	id := e.ID("c")
	bundle := e.Bundle(sleeper, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{}
		set(s.Hooks, hook)
	})
	began := time.Now()
	r := e.Run("create", "-b", bundle, id)
	if command == "start" {
		if r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		pid := e.State(id).Pid
		r = e.Run("start", id)
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root", "bin")); err == nil {
			t.Error("the process outlives the failure")
		}
		e.MustRun("delete", "--force", id)
	}
	wantFailure(t, r, words...)
	if time.Since(began) > 25*time.Second {
		t.Error("the timeout was not kept")
	}
	if left := e.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFailingPoststopHookIsOnlyAWarning(t *testing.T) {
	l := newHookLog(t)
	e := harness.New(t)
	bundle := e.Bundle("true", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/false"}, l.hook("second")}}
	})
	r := e.Run("run", "-b", bundle, e.ID("c"))
	equal(t, "exit code", 0, r.Code)
	if !strings.Contains(r.Stderr, "hooks.poststop[0]") || !strings.Contains(r.Stderr, "level=warning") {
		t.Errorf("stderr: %s", r.Stderr)
	}
	equal(t, "hooks", "second", l.order())
}

func TestHookChangesTheContainerBeforeItsProgram(t *testing.T) {
	l := newHookLog(t)
	out := output(t, "cat /proc/sys/net/ipv4/ip_default_ttl; cat "+l.dir+"/made", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(l.dir, l.dir))
		s.Linux.ReadonlyPaths = nil
		s.Hooks = &specs.Hooks{
			CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{
				"sh", "-c", `pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/'); nsenter -t $pid -n sysctl -qw net.ipv4.ip_default_ttl=77`,
			}}},
			StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo inside >" + l.dir + "/made"}, Env: []string{"PATH=/bin"}}},
		}
	})
	equal(t, "what hooks did", "77\ninside", out)
}

func TestAContainerThatAHookKillsIsNotCreated(t *testing.T) {
	e := harness.New(t)
	script := `kill -9 $(sed 's/.*"pid": *\([0-9]*\).*/\1/')`
	bundle := e.Bundle("true", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}}}
	})
	// A dying process closes its descriptors before it is seen to be dead: one try in ten.
	for range 50 {
		wantFailure(t, e.Run("create", "-b", bundle, e.ID("c")), "ended before it ran the program")
	}
}

// A startContainer hook is a program of the container's and has no more rights than the
// container's own: its user, capabilities, filter, cgroup and environment are the process's.
func TestStartContainerHookIsWhatTheProcessIs(t *testing.T) {
	l := newHookLog(t)
	e := harness.New(t)
	script := `exec >` + l.dir + `/seen; id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/self/cgroup; echo $ONE $HOME; pwd; umask`
	config := func(s *specs.Spec) {
		if err := os.Chmod(l.dir, 0o777); err != nil {
			t.Fatal(err)
		}
		hostCgroups(s) // so that the hook sees the path that we see
		s.Mounts = append(s.Mounts, bind(l.dir, l.dir))
		s.Process.User.UID, s.Process.User.GID, s.Process.User.Umask = 1000, 1000, new(uint32(0o27))
		s.Process.Cwd = "/tmp"
		s.Process.NoNewPrivileges = true
		s.Process.Env = []string{"PATH=/bin:/usr/bin", "ONE=two"}
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"swapon"}, Action: specs.ActErrno}},
		}
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}}}}
	}
	seen := func() string { return read(t, filepath.Join(l.dir, "seen")) }
	reference := output(t, strings.Replace(script, "exec >"+l.dir+"/seen; ", "", 1), func(s *specs.Spec) { config(s); s.Hooks = nil })
	withoutCgroups := func(s string) string { // each container has its own
		var lines []string
		for line := range strings.SplitSeq(s, "\n") {
			if !strings.Contains(line, ":/") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n")
	}
	id := e.ID("c")
	e.MustRun("create", "-b", e.Bundle(sleeper, config), id)
	e.MustRun("start", id)
	equal(t, "a hook of start", withoutCgroups(reference), withoutCgroups(seen()))
	equal(t, "the cgroups of a hook of start", read(t, filepath.Join("/proc", strconv.Itoa(e.State(id).Pid), "cgroup")), onlyCgroups(seen()))
	e.MustRun("delete", "--force", id)
	if err := os.Remove(filepath.Join(l.dir, "seen")); err != nil {
		t.Fatal(err)
	}
	e.MustRun("run", "-b", e.Bundle("true", config), e.ID("d"))
	equal(t, "a hook of run", withoutCgroups(reference), withoutCgroups(seen()))
}

func onlyCgroups(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		if strings.Contains(line, ":/") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestFilterHoldsForStartContainerHooks(t *testing.T) {
	e := harness.New(t)
	r := e.Run("run", "-b", e.Bundle("true", func(s *specs.Spec) {
		s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_CORE"})
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActKillProcess}},
		}
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "exec mkdir /dev/shm/x"}}}}
	}), e.ID("c"))
	wantFailure(t, r, "hooks.startContainer[0]: error running startContainer hook #0: ", "bad system call")
}

// A createContainer hook is the host's program in the container's namespaces: it is root
// there, in the root file system, and knows nothing of the runtime's environment.
func TestCreateContainerHookStartsInTheRootFileSystem(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){"as it is": func(*specs.Spec) {}, "in a user namespace": mapped} {
		t.Run(name, func(t *testing.T) {
			l := newHookLog(t)
			e := harness.New(t)
			script := `pwd >` + l.dir + `/pwd; (id -u; env | grep -v -e ^PWD= -e ^SHLVL= -e ^_=) >` + l.dir + `/seen; exit 0`
			if err := os.Chmod(l.dir, 0o777); err != nil {
				t.Fatal(err)
			}
			bundle := e.Bundle("true", func(s *specs.Spec) {
				change(s)
				s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}}}}
			})
			e.MustRun("run", "-b", bundle, e.ID("c"))
			equal(t, "directory", filepath.Join(bundle, "rootfs"), read(t, filepath.Join(l.dir, "pwd")))
			equal(t, "user and environment", "0", read(t, filepath.Join(l.dir, "seen")))
		})
	}
}
