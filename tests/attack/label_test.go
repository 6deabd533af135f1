package attack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// anything are the rules of a profile that forbids nothing: what counts is that it is there.
const anything = "file, capability, network, mount, umount, pivot_root, signal, ptrace, unix, dbus,"

// attrFiles are those that a runtime writes a profile or a label to.
var attrFiles = []string{"attr/apparmor/exec", "attr/apparmor/current", "attr/exec", "attr/current", "attr/keycreate"}

// fakeProc makes a directory that looks like a procfs to who opens it by name.
func fakeProc(t *testing.T, dir string) {
	t.Helper()
	for _, of := range []string{"self", "thread-self", "1", "self/task/1"} {
		for _, file := range attrFiles {
			mkdir(t, filepath.Dir(filepath.Join(dir, of, file)))
			write(t, filepath.Join(dir, of, file), "fake\n")
		}
	}
}

// untouched fails the test when something was written to a fake procfs.
func untouched(t *testing.T, dir string) {
	t.Helper()
	for _, file := range attrFiles {
		name := filepath.Join(dir, "self", file)
		if b, err := os.ReadFile(name); err == nil && string(b) != "fake\n" {
			t.Errorf("the image's %s was written: %q", name, b)
		}
	}
}

// readProfile is a mount of a procfs where the script of a container can read the truth.
var readProfile = specs.Mount{Destination: "/real", Type: "proc", Source: "proc"}

const printProfile = "cat /real/self/attr/apparmor/current"

func TestCVE_2019_16884_AnImagesProcGetsNoLabel(t *testing.T) {
	profile := harness.LoadProfile(t, "fake-proc", anything)
	for name, spoil := range map[string]func(rootfs string){
		"files":     func(rootfs string) { fakeProc(t, filepath.Join(rootfs, "proc")) },
		"a symlink": func(rootfs string) { fakeProc(t, rootfs+"/tmp/p"); link(t, "/tmp/p", rootfs+"/proc") },
		"a symlink of attr to another file of procfs": func(rootfs string) {
			mkdir(t, rootfs+"/proc/self")
			link(t, "/real/self", rootfs+"/proc/self/attr")
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle(printProfile, func(s *specs.Spec) {
				unmounted(s, "/proc")
				s.Mounts = append(s.Mounts, readProfile)
				s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
				s.Process.ApparmorProfile = profile
			})
			rootfs := filepath.Join(bundle, "rootfs")
			if name != "a symlink" {
				mkdir(t, rootfs+"/proc")
			}
			spoil(rootfs)
			answers(t, e, bundle, profile+" (enforce)")
			untouched(t, rootfs+"/proc")
			untouched(t, rootfs+"/tmp/p")
		})
	}
}

// TestCVE_2019_19921_ASwappedProcGetsNoLabel exchanges the target of /proc for a fake while
// containers start: each of them is confined, or does not start.
func TestCVE_2019_19921_ASwappedProcGetsNoLabel(t *testing.T) {
	profile := harness.LoadProfile(t, "swapped-proc", anything)
	e := harness.New(t)
	bundle := e.Bundle(printProfile, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, readProfile)
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		s.Process.ApparmorProfile = profile
	})
	rootfs := filepath.Join(bundle, "rootfs")
	fakeProc(t, rootfs+"/tmp/p")
	link(t, "/tmp/p", rootfs+"/other")
	swapper(t, rootfs+"/proc", rootfs+"/other")
	started := 0
	for i := range 40 {
		r := e.Run("run", "--bundle", bundle, e.ID("c"+strconv.Itoa(i)))
		if r.Code == 0 && strings.TrimSpace(r.Stdout) != profile+" (enforce)" {
			t.Errorf("run %d: it started under %q", i, r.Stdout)
		}
		if r.Code == 0 {
			started++
		}
	}
	untouched(t, rootfs+"/tmp/p")
	t.Logf("%d of 40 started", started)
}

// TestCVE_2025_52881_ExecIsNotDeceivedByTheContainersProc lets a container with rights over
// its mounts cover its own /proc before a process is added to it.
func TestCVE_2025_52881_ExecIsNotDeceivedByTheContainersProc(t *testing.T) {
	profile := harness.LoadProfile(t, "exec", anything)
	for name, cover := range map[string]string{
		"a fake over /proc":              "mount --bind /tmp/p /proc",
		"another procfs file over attr":  "for f in exec apparmor/exec; do mount --bind /proc/sysrq-trigger /proc/1/attr/$f || true; done",
		"a tmpfs over /proc/self's attr": "mount -t tmpfs none /proc/1/attr || true; umount -l /proc || true",
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle(cover+"; touch /tmp/ready; exec sleep 1003", func(s *specs.Spec) {
				s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
				for _, set := range []*[]string{&s.Process.Capabilities.Bounding, &s.Process.Capabilities.Effective, &s.Process.Capabilities.Permitted} {
					*set = append(*set, "CAP_SYS_ADMIN")
				}
			})
			rootfs := filepath.Join(bundle, "rootfs")
			fakeProc(t, rootfs+"/tmp/p")
			id := e.ID("c")
			e.MustRun("run", "-d", "--bundle", bundle, id)
			waitFor(t, filepath.Join(rootfs, "tmp/ready"))
			pidFile := filepath.Join(t.TempDir(), "pid")
			e.MustRun("exec", "-d", "--pid-file", pidFile, "--apparmor", profile, id, "sleep", "1003")
			pid, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile("/proc/" + string(pid) + "/attr/apparmor/current")
			if err != nil || strings.TrimSpace(string(got)) != profile+" (enforce)" {
				t.Errorf("the process is under %q: %v", got, err)
			}
			untouched(t, rootfs+"/tmp/p")
		})
	}
}

// TestCVE_2019_16884_NoModuleNoStart: what nothing can confine does not run.
func TestCVE_2019_16884_NoModuleNoStart(t *testing.T) {
	for name, c := range map[string]struct {
		has    bool
		reason string
		set    func(*specs.Spec)
	}{
		"a profile":     {harness.AppArmor.Probe() == nil, "AppArmor is not enabled", func(s *specs.Spec) { s.Process.ApparmorProfile = "profile" }},
		"a label":       {harness.SELinux.Probe() == nil, "SELinux is not enabled", func(s *specs.Spec) { s.Process.SelinuxLabel = "u:r:t:s0" }},
		"a mount label": {harness.SELinux.Probe() == nil, "SELinux is not enabled", func(s *specs.Spec) { s.Linux.MountLabel = "u:r:t:s0" }},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			if c.has {
				t.Skip("needs a kernel without the module")
			}
			refused(t, e, e.Bundle("true", c.set), c.reason)
		})
	}
}

// TestAProfileOutlivesItsRuntime: a container that waits for `start` is confined by what
// was asked for at create, whatever the image makes of /proc meanwhile.
func TestAProfileOutlivesItsRuntime(t *testing.T) {
	profile := harness.LoadProfile(t, "waits", anything)
	e := harness.New(t)
	bundle := e.Bundle("exec sleep 1004", func(s *specs.Spec) { s.Process.ApparmorProfile = profile })
	id := e.ID("c")
	e.MustRun("create", "--bundle", bundle, id)
	pid := strconv.Itoa(e.State(id).Pid)
	if out, err := exec.Command("nsenter", "-t", pid, "-m", "umount", "-l", "/proc").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fakeProc(t, filepath.Join(bundle, "rootfs/proc"))
	e.MustRun("start", id)
	got, err := os.ReadFile("/proc/" + pid + "/attr/apparmor/current")
	if err != nil || strings.TrimSpace(string(got)) != profile+" (enforce)" {
		t.Errorf("the program is under %q: %v", got, err)
	}
}

// waitFor waits up to 10 s for a file.
func waitFor(t *testing.T, file string) {
	t.Helper()
	for range 500 {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s does not appear", file)
}
