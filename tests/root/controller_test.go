package root_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// controllerDir is the container's cgroup where a controller is, and whether that is v2.
func controllerDir(t *testing.T, pid int, controller string) (dir string, v2 bool) {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		list, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
		if err == nil && strings.Contains(" "+strings.TrimSpace(string(list))+" ", " "+controller+" ") {
			return filepath.Join(mount, unified(t, pid)), true
		}
	}
	if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", controller)); err != nil {
		harness.Lacks(t, harness.Controller(controller), "no hierarchy has it")
	}
	return cgroupOf(t, pid, controller), false
}

// cgroupFile is a file of a controller, by its names on cgroup v1 and v2.
type cgroupFile struct{ controller, v1, v2 string }

// want compares the file in the container's cgroup.
func (f cgroupFile) want(c *container, want string) {
	t := c.t
	t.Helper()
	dir, isV2 := controllerDir(t, c.pid, f.controller)
	name := f.v1
	if isV2 {
		name = f.v2
	}
	equal(t, name, want, read(t, filepath.Join(dir, name)))
}

func needController(t *testing.T, controller string) {
	t.Helper()
	harness.NeedRoot(t)
	_, _ = controllerDir(t, os.Getpid(), controller)
}

func TestHugetlbLimits(t *testing.T) {
	needController(t, "hugetlb")
	if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB"); err != nil {
		t.Skip("this machine has no pages of 2 MB")
	}
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
	})
	cgroupFile{"hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"}.want(c, "4194304")
	cgroupFile{"hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"}.want(c, "4194304")
}

func TestCPUBurst(t *testing.T) {
	needController(t, "cpu")
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: new(int64(20000)), Period: new(uint64(100000)), Burst: new(uint64(10000))}
	})
	cgroupFile{"cpu", "cpu.cfs_burst_us", "cpu.max.burst"}.want(c, "10000")
}

func TestCPUIdle(t *testing.T) {
	needController(t, "cpu")
	c := start(t, func(s *specs.Spec) { s.Linux.Resources.CPU = &specs.LinuxCPU{Idle: new(int64(1))} })
	cgroupFile{"cpu", "cpu.idle", "cpu.idle"}.want(c, "1")
}

func TestUnifiedMap(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CgroupV2)
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources.Unified = map[string]string{"memory.high": "50003968", "cgroup.max.depth": "3", "pids.max": "77"}
	})
	cgroupFile{"memory", "", "memory.high"}.want(c, "50003968")
	cgroupFile{"memory", "", "cgroup.max.depth"}.want(c, "3")
	cgroupFile{"pids", "", "pids.max"}.want(c, "77")
}

func TestUnifiedMapNeedsV2(t *testing.T) {
	needV1(t)
	refuse(t, func(s *specs.Spec) {
		s.Linux.Resources.Unified = map[string]string{"memory.high": "50003968"}
	}, "linux.resources.unified", "cgroup v1")
}

// TestMiscAndAllOtherControllersAreOn: clients read statistics of controllers that config.json
// sets no limit for, misc among them, which it can't.
func TestMiscAndAllOtherControllersAreOn(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CgroupV2, harness.Controller("misc"))
	c := start(t, nil)
	dir, _ := controllerDir(t, c.pid, "misc")
	equal(t, "controllers", read(t, "/sys/fs/cgroup/cgroup.controllers"), read(t, filepath.Join(dir, "cgroup.controllers")))
	if _, err := os.Stat(filepath.Join(dir, "misc.max")); err != nil {
		t.Error(err)
	}
}

func TestRdmaDeviceThatIsNotThere(t *testing.T) {
	needController(t, "rdma")
	refuse(t, func(s *specs.Spec) {
		s.Linux.Resources.Rdma = map[string]specs.LinuxRdma{"nosuch0": {HcaHandles: new(uint32(3))}}
	}, "linux.resources.rdma.nosuch0")
}

// rdmaDevice makes a device out of an ordinary network device, rxe(7), and returns its name.
func rdmaDevice(t *testing.T) string {
	t.Helper()
	needController(t, "rdma")
	const script = `modprobe rdma_rxe && modprobe dummy && ip link add gantryrdma type dummy && ip link set gantryrdma up && rdma link add gantryrxe type rxe netdev gantryrdma`
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "gantryrdma").Run() })
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Skipf("no RDMA device can be made here: %v: %s", err, out)
	}
	return "gantryrxe"
}

func TestRdmaLimits(t *testing.T) {
	name := rdmaDevice(t)
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources.Rdma = map[string]specs.LinuxRdma{name: {HcaHandles: new(uint32(3)), HcaObjects: new(uint32(1000))}}
	})
	cgroupFile{"rdma", "rdma.max", "rdma.max"}.want(c, name+" hca_handle=3 hca_object=1000")
}
