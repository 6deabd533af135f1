package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestNumbers(t *testing.T) {
	for in, want := range map[string][]int{
		"": nil, "0": {0}, "0-2,7": {0, 1, 2, 7}, "x,1": {1}, "3-1": nil, "1-x,2": {2}, "8191-9223372036854775807": {8191, 8192},
	} {
		if got := Numbers(in); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
}

// tree makes files with a content in a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProbeV1(t *testing.T) {
	dir := tree(t, map[string]string{
		"memory/memory.soft_limit_in_bytes": "", "memory/memory.oom_control": "", "memory/memory.swappiness": "",
		"cpu/cpu.shares": "", "cpu/cpu.cfs_quota_us": "", "cpuset/cpuset.cpus": "0-3\n", "cpuset/cpuset.mems": "0\n", "pids/x": "",
	})
	var f Facts
	f.probeV1(map[string]string{
		"memory": filepath.Join(dir, "memory"), "cpu": filepath.Join(dir, "cpu"),
		"cpuset": filepath.Join(dir, "cpuset"), "pids": filepath.Join(dir, "pids"),
	})
	want := Facts{
		Controllers: map[string]bool{
			Memory: true, Swap: false, MemoryReservation: true, OOMKillDisable: true, MemorySwappiness: true,
			CPUShares: true, CPUQuota: true, CPURealtime: false, Cpuset: true, Pids: true, DeviceRestrictions: false,
		},
		CPUSet: "0-3", MemSet: "0",
		Warnings: []string{
			"Your kernel does not support swap memory limit", "Your kernel does not support CPU realtime scheduler",
			"Unable to find blkio cgroup in mounts",
		},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestProbeV2(t *testing.T) {
	dir := tree(t, map[string]string{
		"cgroup.controllers": "cpuset cpu memory pids\n", "cpuset.cpus.effective": "0-1\n", "cpuset.mems.effective": "0\n",
	})
	var f Facts
	f.probeV2(dir)
	want := Facts{
		Controllers: map[string]bool{
			Memory: true, MemoryReservation: true, Swap: false, CPUShares: true, CPUQuota: true, Cpuset: true, Pids: true,
			DeviceRestrictions: true,
		},
		CPUSet: "0-1", MemSet: "0", Warnings: []string{"Unable to find io controller"},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestThermal(t *testing.T) {
	dir := tree(t, map[string]string{"possible": "0-2\n", "cpu1/thermal_throttle/count": "", "cpu7/thermal_throttle/count": ""})
	if got := thermal(dir); !slices.Equal(got, []string{filepath.Join(dir, "cpu1/thermal_throttle")}) {
		t.Errorf("got %q", got)
	}
}

func TestMemory(t *testing.T) {
	dir := tree(t, map[string]string{"good": "MemFree: 1 kB\nMemTotal:       2048 kB\n", "bad": "MemTotal: x kB\n", "none": ""})
	if got, err := memory(filepath.Join(dir, "good")); err != nil || got != 2<<20 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, name := range []string{"bad", "none", "missing"} {
		if _, err := memory(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestProbe asks this machine, whatever it is.
func TestProbe(t *testing.T) {
	f, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if f.CPUs < 1 || f.Memory < 1<<20 || f.KernelVersion == "" || f.Controllers == nil {
		t.Errorf("got %+v", f)
	}
	for _, c := range f.Capabilities {
		if c != "CAP_"+c[4:] || c[4] < 'A' || c[4] > 'Z' {
			t.Errorf("capability %q", c)
		}
	}
}

func TestMachine(t *testing.T) {
	var m Machine
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/dev/null", link} {
		got, err := m.DevicesAt(path, "/dev/x")
		if err != nil || len(got) != 1 || got[0].Path != "/dev/x" || got[0].Major != 1 || got[0].Minor != 3 {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	folder, err := m.DevicesAt("/dev", "/x")
	if err != nil || !slices.ContainsFunc(folder, func(d specs.LinuxDevice) bool { return d.Path == "/x/null" }) {
		t.Errorf("/dev has no null: %v", err)
	}
	if _, err := m.DevicesAt("/etc/passwd", "/x"); err == nil || err.Error() != `error gathering device information while adding custom device "/etc/passwd": not a device node` {
		t.Errorf("a file: %v", err)
	}
	if major, minor, err := m.DeviceNumber(link); err != nil || major != 1 || minor != 3 {
		t.Errorf("number %d:%d, %v", major, minor, err)
	}
	if _, _, err := m.DeviceNumber("/nowhere"); err == nil || err.Error() != "stat /nowhere: no such file or directory" {
		t.Errorf("got %v", err)
	}
	if on, _, _, err := m.Propagation("/proc/self/status"); err != nil || on != "/proc" {
		t.Errorf("/proc/self/status is on %q, %v", on, err)
	}
	if there, err := m.Exists("/nowhere"); there || err != nil {
		t.Errorf("nowhere: %v, %v", there, err)
	}
	all, err := m.Devices()
	if err != nil || len(all) == 0 {
		t.Errorf("devices: %d, %v", len(all), err)
	}
}

func TestFindInit(t *testing.T) {
	dir := tree(t, map[string]string{"an-init": "", "no-init": ""})
	if err := os.Chmod(filepath.Join(dir, "an-init"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for name, want := range map[string]string{"an-init": filepath.Join(dir, "an-init"), "no-init": "", "/a/path": "/a/path"} {
		if got := FindInit(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
