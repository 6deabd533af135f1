package root_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// withoutCgroup starts a container without any cgroup.
func withoutCgroup(t *testing.T, edit change) *container {
	t.Helper()
	harness.NeedRoot(t)
	return startScope(t, harness.New(t), edit, "--cgroup-manager", "disabled")
}

func TestNoCgroupIsMadeOrJoined(t *testing.T) {
	before := proc(t, os.Getpid(), "cgroup")
	c := withoutCgroup(t, nil)
	equal(t, "cgroups of the container", before, proc(t, c.pid, "cgroup"))
	equal(t, "cgroups of an exec'ed process", "same", c.exec("cmp /proc/self/cgroup /proc/1/cgroup && echo same"))
	for _, pattern := range []string{"/sys/fs/cgroup/" + c.id, "/sys/fs/cgroup/*/" + c.id, "/sys/fs/cgroup/*/*/" + c.id} {
		if dirs, _ := filepath.Glob(pattern); len(dirs) > 0 {
			t.Errorf("made: %v", dirs)
		}
	}
	c.MustRun("kill", c.id, "TERM")
	c.WaitStatus(c.id, specs.StateStopped)
	c.MustRun("delete", c.id)
}

func TestNoCgroupPsAndKillAll(t *testing.T) {
	c := withoutCgroup(t, nil)
	c.MustRun("exec", "-d", c.id, "sh", "-c", "trap 'echo got >/tmp/usr1; exit' USR1; echo ready >/tmp/ready; while :; do sleep 0.02; done")
	eventually(t, "the second process", func() bool { return c.exec("cat /tmp/ready 2>/dev/null || true") == "ready" })
	pids := c.MustRun("ps", "-f", "json", c.id)
	if n := strings.Count(pids, ","); n < 2 || !strings.Contains(pids, strconv.Itoa(c.pid)) {
		t.Errorf("ps lists %s; the container has three processes and more, %d among them", pids, c.pid)
	}
	if strings.Contains(pids, strconv.Itoa(os.Getpid())) {
		t.Errorf("ps lists a process outside: %s", pids)
	}
	c.MustRun("kill", "--all", c.id, "USR1")
	c.WaitStatus(c.id, specs.StateRunning) // its first process ignores what it has no handler for
	eventually(t, "the signal", func() bool { return c.exec("cat /tmp/usr1 2>/dev/null || true") == "got" })
}

func TestNoCgroupPause(t *testing.T) {
	c := withoutCgroup(t, nil)
	wantFailure(t, c.Run("pause", c.id), "cgroups not configured for container")
	equal(t, "status", specs.StateRunning, c.State(c.id).Status)
	c.MustRun("delete", "--force", c.id)
}

func TestNoCgroupRefusesLimits(t *testing.T) {
	for field, edit := range map[string]change{
		"linux.resources.memory.limit": func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(64 << 20))}
		},
		"linux.resources.pids.limit": func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: new(int64(5))} },
		"linux.cgroupsPath":          func(s *specs.Spec) { s.Linux.CgroupsPath = "/x" },
		"linux.resources.devices": func(s *specs.Spec) {
			s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/dev") })
		},
	} {
		t.Run(field, func(t *testing.T) {
			e := harness.New(t)
			r := e.Run("--cgroup-manager", "disabled", "run", "-b", e.Bundle("echo started", edit), e.ID("c"))
			wantFailure(t, r, field)
		})
	}
}

// TestNoCgroupDeviceNodes: what keeps a container from devices without a cgroup.
func TestNoCgroupDeviceNodes(t *testing.T) {
	harness.NeedRoot(t)
	e := harness.New(t)
	const script = "echo x >/dev/null && echo null; head -c 1 /dev/zero >/dev/null && echo zero; " +
		"cat /kmsg 2>&1 | grep -o denied; mknod /tmp/x c 1 11 2>&1 | grep -o 'not permitted'"
	bundle := e.Bundle(script, func(s *specs.Spec) {
		grant(s, "CAP_MKNOD")
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"})
	})
	// A node that came with the image, of the kernel's log.
	if err := unix.Mknod(filepath.Join(bundle, "rootfs", "kmsg"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11))); err != nil {
		t.Fatal(err)
	}
	id := e.ID("c")
	equal(t, "inside", "null\nzero\ndenied\nnot permitted\n", e.MustRun("--cgroup-manager", "disabled", "run", "-b", bundle, id))
}

// TestNoCgroupExecMakesNoDeviceNodes: a process that is added later has no more rights.
func TestNoCgroupExecMakesNoDeviceNodes(t *testing.T) {
	c := withoutCgroup(t, func(s *specs.Spec) { grant(s, "CAP_MKNOD") })
	const script = "mknod /dev/x c 1 11 2>&1 | grep -o 'not permitted'"
	equal(t, "exec", "not permitted", c.exec(script))
	equal(t, "exec --cap", "not permitted", c.exec(script, "--cap", "CAP_MKNOD"))
}

func TestCgroupManagerFlag(t *testing.T) {
	harness.NeedRoot(t)
	e := harness.New(t)
	bundle := e.Bundle("echo ran", nil)
	equal(t, "cgroupfs", "ran\n", e.MustRun("--cgroup-manager", "cgroupfs", "run", "-b", bundle, e.ID("c")))
	wantFailure(t, e.Run("--cgroup-manager", "other", "run", "-b", bundle, e.ID("d")), "--cgroup-manager", "is not cgroupfs, systemd or disabled")
	wantFailure(t, e.Run("--systemd-cgroup", "--cgroup-manager", "disabled", "run", "-b", bundle, e.ID("e")), "contradict each other")
}
