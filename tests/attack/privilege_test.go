package attack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Users, capabilities, descriptors, working directories and cgroups: what a process gets.

var sleepers atomic.Int64

// sleeper is a running container to exec into.
func sleeper(t *testing.T, e *harness.Env, change func(*specs.Spec)) (id, bundle string) {
	t.Helper()
	bundle = e.Bundle("sleep 100", change)
	id = e.ID(fmt.Sprint("sleeper", sleepers.Add(1)))
	e.MustRun("run", "--detach", "--bundle", bundle, id)
	return id, bundle
}

func TestCVE_2016_3697_ANumberIsNoName(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("id -u; echo $HOME", func(s *specs.Spec) { s.Process.User.UID = 1000 })
	passwd := "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:attacker:/root/evil:/bin/sh\n"
	write(t, filepath.Join(bundle, "rootfs/etc/passwd"), passwd)
	answers(t, e, bundle, "1000\n/")
	id, other := sleeper(t, e, nil)
	write(t, filepath.Join(other, "rootfs/etc/passwd"), passwd)
	if out := e.MustRun("exec", "--user", "1000", id, "sh", "-c", "id -u; echo $HOME"); out != "1000\n/\n" {
		t.Errorf("exec: %q", out)
	}
}

func TestCVE_2026_30892_AUserIsWhatIsWritten(t *testing.T) {
	e := harness.New(t)
	id, _ := sleeper(t, e, nil)
	for user, want := range map[string]string{
		"0": "0:0", "1": "1:0", "1:0": "1:0", "65534:1": "65534:1", "4294967294": "4294967294:0",
		"01": "", "1x": "", "-1": "", "4294967295": "", "4294967296": "", "1:": "", ":1": "", "1:-1": "", "+1": "", " 1": "", "0x1": "",
	} {
		r := e.Run("exec", "--user", user, id, "sh", "-c", "echo $(id -u):$(id -g)")
		switch {
		case want == "" && r.Code != 255:
			t.Errorf("--user %q: exit %d, %q, want a refusal", user, r.Code, r.Stdout)
		case want != "" && r.Stdout != want+"\n":
			t.Errorf("--user %q: got %q, want %q (%s)", user, r.Stdout, want, r.Stderr)
		}
	}
}

const showCaps = "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\\t\\n'"

func TestCVE_2016_8867_AmbientIsWhatIsAskedFor(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle(showCaps, func(s *specs.Spec) {
		withCaps(s)
		s.Process.User.UID = 1000
	})
	const none = "0000000000000000"
	answers(t, e, bundle, "CapInh:"+none+"CapPrm:"+none+"CapEff:"+none+"CapAmb:"+none)
}

func TestCVE_2022_29162_ExecGivesNothingToInherit(t *testing.T) {
	e := harness.New(t)
	id, _ := sleeper(t, e, nil)
	const netRaw, none = "CapPrm:0000000020002420CapEff:0000000020002420", "0000000000000000"
	if out, want := e.MustRun("exec", "--cap", "CAP_NET_RAW", id, "sh", "-c", showCaps), "CapInh:"+none+netRaw+"CapAmb:"+none; out != want {
		t.Errorf("got %s, want %s", out, want)
	}
	if out, want := e.MustRun("exec", "--cap", "CAP_NET_RAW", "--user", "1000", id, "sh", "-c", showCaps), "CapInh:"+none+"CapPrm:"+none+"CapEff:"+none+"CapAmb:"+none; out != want {
		t.Errorf("as another user: got %s, want %s", out, want)
	}
}

// leak opens a directory of the host as descriptors 3 to 9, close-on-exec off.
func leak(t *testing.T, dir string) func(*exec.Cmd) {
	t.Helper()
	var files []*os.File
	for range 7 {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		files = append(files, f)
	}
	return func(c *exec.Cmd) { c.ExtraFiles = files }
}

func TestCVE_2024_21626_TheCallersDescriptorsStayOutside(t *testing.T) {
	e, host := harness.New(t), canary(t)
	const list = "cd /proc/self/fd && echo *"
	bundle := e.Bundle(list, nil)
	// The shell's own descriptor for the directory that it lists is 3.
	if r := e.RunWith(leak(t, host), "run", "--bundle", bundle, e.ID("c")); r.Stdout != "0 1 2 3\n" {
		t.Errorf("run: %q %s", r.Stdout, r.Stderr)
	}
	id, _ := sleeper(t, e, nil)
	if r := e.RunWith(leak(t, host), "exec", id, "sh", "-c", list); r.Stdout != "0 1 2 3\n" {
		t.Errorf("exec: %q %s", r.Stdout, r.Stderr)
	}
	if r := e.RunWith(leak(t, host), "exec", "--preserve-fds", "2", id, "sh", "-c", list); r.Stdout != "0 1 2 3 4 5\n" {
		t.Errorf("--preserve-fds 2: %q %s", r.Stdout, r.Stderr)
	}
}

func TestCVE_2024_21626_TheWorkingDirectoryIsInside(t *testing.T) {
	const script = "cat secret 2>/dev/null; cat ../secret 2>/dev/null; cat ../../../../secret 2>/dev/null; pwd; true"
	e, host := harness.New(t), canary(t)
	id, other := sleeper(t, e, nil)
	link(t, "/proc/self/fd/5", filepath.Join(other, "rootfs/link"))
	// Without a pid namespace /proc/self is there while the process joins.
	open, _ := sleeper(t, e, func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] })
	try := func(cwd string, r harness.Result) {
		t.Helper()
		if strings.Contains(r.Stdout, "canary") || r.Code == 0 && !strings.HasPrefix(r.Stdout, "/") {
			t.Errorf("cwd %s: the container is outside of its root: %q", cwd, r.Stdout)
		}
		if r.Code == 0 {
			t.Errorf("cwd %s: exit 0, want a refusal: %q", cwd, r.Stdout)
		}
	}
	for n := 3; n <= 20; n++ {
		cwd := fmt.Sprintf("/proc/self/fd/%d", n)
		try(cwd+" by exec", e.RunWith(leak(t, host), "exec", "--cwd", cwd, id, "sh", "-c", script))
		try(cwd+" by exec in the host's pid namespace", e.RunWith(leak(t, host), "exec", "--cwd", cwd, open, "sh", "-c", script))
		bundle := other
		e.EditConfig(bundle, func(s *specs.Spec) { s.Process.Cwd, s.Process.Args = cwd, []string{"sh", "-c", script} })
		try(cwd+" by run", e.RunWith(leak(t, host), "run", "--bundle", bundle, e.ID("c")))
	}
	try("/link by exec", e.RunWith(leak(t, host), "exec", "--cwd", "/link", id, "sh", "-c", script))
	e.EditConfig(other, func(s *specs.Spec) { s.Process.Cwd = "/link" })
	try("/link by run", e.RunWith(leak(t, host), "run", "--bundle", other, e.ID("c")))
}

func TestExecCgroupIsBelowTheContainers(t *testing.T) {
	e := harness.New(t)
	id, _ := sleeper(t, e, nil)
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", e.State(id).Pid))
	if err != nil {
		t.Fatal(err)
	}
	dir := ""
	for line := range strings.Lines(string(own)) {
		if _, path, ok := strings.Cut(line, ":pids:"); ok {
			dir = filepath.Join("/sys/fs/cgroup/pids", strings.TrimSpace(path))
		}
		if _, path, ok := strings.Cut(line, "0::"); ok && harness.CgroupV2.Probe() == nil {
			dir = filepath.Join("/sys/fs/cgroup", strings.TrimSpace(path))
		}
	}
	if dir == "" {
		t.Fatalf("no cgroup among %s", own)
	}
	sibling := dir + "-sibling"
	if err := os.Mkdir(sibling, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(sibling) })
	for _, path := range []string{"../" + filepath.Base(sibling), "pids:../" + filepath.Base(sibling), "..", "x/../../" + filepath.Base(sibling)} {
		want := "bad sub cgroup path"
		if strings.HasPrefix(path, "pids:") && harness.CgroupV2.Probe() == nil {
			want = "unknown controller pids"
		}
		r := e.Run("exec", "--cgroup", path, id, "true")
		if r.Code != 255 || !strings.Contains(r.Stderr, want) {
			t.Errorf("--cgroup %s: exit %d, stderr %q, want a refusal", path, r.Code, r.Stderr)
		}
	}
}

func TestCVE_2021_43784_LongConfigsAreAppliedExactly(t *testing.T) {
	e, volume := harness.New(t), t.TempDir()
	const count = 400
	name := strings.Repeat("n", 200)
	script := fmt.Sprintf("grep -c %s /proc/self/mountinfo; env | grep -c %s; cat /m/399/file", name, name)
	write(t, filepath.Join(volume, "file"), "end\n")
	bundle := e.Bundle(script, func(s *specs.Spec) {
		for i := range count {
			m := bind(volume, fmt.Sprintf("/m/%d/%s", i, name))
			if i == count-1 {
				m.Destination = "/m/399"
				m.Options = append(m.Options, "ro")
			}
			s.Mounts = append(s.Mounts, m)
			s.Process.Env = append(s.Process.Env, fmt.Sprintf("V%d=%s", i, name))
		}
	})
	answers(t, e, bundle, fmt.Sprintf("%d\n%d\nend", count-1, count))
	refused(t, e, e.Bundle("true", func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
		for i := range uint32(400) { // the kernel takes 340
			s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: i, HostID: 100000 + 2*i, Size: 1})
		}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1}}
	}), "linux.uidMappings")
}

// withoutDaemons leaves out mounts of daemons that are tested beside: whoever removes the directory takes them away here,
// too.
func withoutDaemons(mountinfo []byte) []byte {
	var rest []byte
	for line := range bytes.Lines(mountinfo) {
		if !bytes.Contains(line, []byte("/gtdocker")) && !bytes.Contains(line, []byte("/gt-ctrd")) {
			rest = append(rest, line...)
		}
	}
	return rest
}

func TestNoMountNamespaceLeavesTheHostsPropagation(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"no mount namespace": func(s *specs.Spec) {
			s.Mounts, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil, nil
			s.Hostname = ""
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}}
		},
		"a mount namespace of its own":    func(*specs.Spec) {},
		"a shared rootfsPropagation":      func(s *specs.Spec) { s.Linux.RootfsPropagation = "rshared" },
		"an unbindable rootfsPropagation": func(s *specs.Spec) { s.Linux.RootfsPropagation = "runbindable" },
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle("true", change)
			script := fmt.Sprintf("cat /proc/self/mountinfo >%[1]s/before && %[2]s --root %[3]s run --bundle %[1]s %[4]s && cat /proc/self/mountinfo >%[1]s/after",
				bundle, harness.Runtime(t), e.Root, e.ID("c"))
			// A host of its own, whose mounts are shared as systemd makes them.
			script = "mount --make-rshared / && " + script
			if out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			before, _ := os.ReadFile(filepath.Join(bundle, "before"))
			after, _ := os.ReadFile(filepath.Join(bundle, "after"))
			before, after = withoutDaemons(before), withoutDaemons(after)
			if string(before) != string(after) || !strings.Contains(string(before), " shared:") {
				t.Errorf("the host's mounts changed:\nbefore:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
