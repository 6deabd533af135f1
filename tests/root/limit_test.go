package root_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// limitFile is a file of a process's cgroup, in whichever version has its controller here.
func limitFile(t *testing.T, pid int, name string) string {
	t.Helper()
	controller, _, _ := strings.Cut(name, ".")
	unified := ""
	for line := range strings.Lines(proc(t, pid, "cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case slices.Contains(strings.Split(f[1], ","), controller):
			return filepath.Join("/sys/fs/cgroup", f[1], f[2], name)
		case f[1] == "":
			unified = f[2]
		}
	}
	for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(mount + "/cgroup.controllers"); err == nil {
			return filepath.Join(mount, unified, name)
		}
	}
	return "/nonexistent/" + name
}

// aLimit is one field of linux.resources: a value at creation, one for update, and how the
// kernel shows them. Of files the first that is there counts, of v1 or v2.
type aLimit struct {
	name           string
	create, update string // JSON of linux.resources; %DEV is a block device as "major":M,"minor":N
	files          []string
	before, after  []string // by file; %DEV is M:N
	noUpdate       bool
}

var limits = []aLimit{
	{
		name: "memory.limit", create: `{"memory":{"limit":67108864}}`, update: `{"memory":{"limit":33554432}}`,
		files: []string{"memory.limit_in_bytes", "memory.max"}, before: []string{"67108864", "67108864"}, after: []string{"33554432", "33554432"},
	},
	{
		name: "memory.reservation", create: `{"memory":{"reservation":67108864}}`, update: `{"memory":{"reservation":33554432}}`,
		files: []string{"memory.soft_limit_in_bytes", "memory.low"}, before: []string{"67108864", "67108864"}, after: []string{"33554432", "33554432"},
	},
	{
		name: "memory.swap", create: `{"memory":{"limit":67108864,"swap":134217728}}`, update: `{"memory":{"swap":268435456}}`,
		files: []string{"memory.memsw.limit_in_bytes", "memory.swap.max"}, before: []string{"134217728", "67108864"}, after: []string{"268435456", "201326592"},
	},
	{
		name: "memory both up", create: `{"memory":{"limit":67108864,"swap":67108864}}`, update: `{"memory":{"limit":134217728,"swap":134217728}}`,
		files: []string{"memory.memsw.limit_in_bytes", "memory.max"}, before: []string{"67108864", "67108864"}, after: []string{"134217728", "134217728"},
	},
	{
		name: "memory both down", create: `{"memory":{"limit":134217728,"swap":134217728}}`, update: `{"memory":{"limit":67108864,"swap":67108864}}`,
		files: []string{"memory.memsw.limit_in_bytes", "memory.max"}, before: []string{"134217728", "134217728"}, after: []string{"67108864", "67108864"},
	},
	{
		name: "memory unlimited", create: `{"memory":{"limit":67108864,"swap":134217728}}`, update: `{"memory":{"limit":-1}}`,
		files: []string{"memory.memsw.limit_in_bytes", "memory.swap.max"}, before: []string{"134217728", "67108864"}, after: []string{"9223372036854771712", "max"},
	},
	{
		name: "memory.swappiness", create: `{"memory":{"swappiness":0}}`, update: `{"memory":{"swappiness":33}}`,
		files: []string{"memory.swappiness"}, before: []string{"0"}, after: []string{"33"},
	},
	{
		name: "memory.disableOOMKiller", create: `{"memory":{"limit":67108864,"disableOOMKiller":true}}`, update: `{"memory":{"disableOOMKiller":false}}`,
		files: []string{"memory.oom_control"}, before: []string{"oom_kill_disable 1"}, after: []string{"oom_kill_disable 0"},
	},
	{
		name: "memory.kernelTCP", create: `{"memory":{"kernelTCP":1048576}}`, noUpdate: true,
		files: []string{"memory.kmem.tcp.limit_in_bytes"}, before: []string{"1048576"},
	},
	{
		name: "memory.useHierarchy", create: `{"memory":{"useHierarchy":true}}`, noUpdate: true,
		files: []string{"memory.use_hierarchy"}, before: []string{"1"},
	},
	{
		name: "cpu.shares", create: `{"cpu":{"shares":512}}`, update: `{"cpu":{"shares":2048}}`,
		files: []string{"cpu.shares", "cpu.weight"}, before: []string{"512", "59"}, after: []string{"2048", "174"},
	},
	{
		name: "cpu.quota", create: `{"cpu":{"quota":20000,"period":50000}}`, update: `{"cpu":{"quota":30000}}`,
		files: []string{"cpu.cfs_quota_us", "cpu.max"}, before: []string{"20000", "20000 50000"}, after: []string{"30000", "30000 50000"},
	},
	{
		name: "cpu.period", create: `{"cpu":{"quota":20000,"period":50000}}`, update: `{"cpu":{"period":100000}}`,
		files: []string{"cpu.cfs_period_us", "cpu.max"}, before: []string{"50000", "20000 50000"}, after: []string{"100000", "20000 100000"},
	},
	{
		name: "cpu unlimited", create: `{"cpu":{"quota":20000,"period":50000}}`, update: `{"cpu":{"quota":-1}}`,
		files: []string{"cpu.cfs_quota_us", "cpu.max"}, before: []string{"20000", "20000 50000"}, after: []string{"-1", "max 50000"},
	},
	{
		name: "cpu.burst", create: `{"cpu":{"quota":20000,"period":50000,"burst":10000}}`, update: `{"cpu":{"quota":90000,"burst":60000}}`,
		files: []string{"cpu.cfs_burst_us", "cpu.max.burst"}, before: []string{"10000", "10000"}, after: []string{"60000", "60000"},
	},
	{
		name: "cpu.burst down", create: `{"cpu":{"quota":90000,"burst":60000}}`, update: `{"cpu":{"quota":20000,"burst":10000}}`,
		files: []string{"cpu.cfs_burst_us", "cpu.max.burst"}, before: []string{"60000", "60000"}, after: []string{"10000", "10000"},
	},
	{
		name: "cpu.idle", create: `{"cpu":{"idle":1}}`, update: `{"cpu":{"idle":0}}`,
		files: []string{"cpu.idle"}, before: []string{"1"}, after: []string{"0"},
	},
	{
		name: "cpu.shares of a group that was idle", create: `{"cpu":{"shares":512,"idle":1}}`, update: `{"cpu":{"idle":0}}`,
		files: []string{"cpu.shares", "cpu.weight"}, before: []string{"3", "0"}, after: []string{"512", "59"},
	},
	{
		name: "cpu.realtimeRuntime", create: `{"cpu":{"realtimePeriod":1000000,"realtimeRuntime":1000}}`, update: `{"cpu":{"realtimeRuntime":2000}}`,
		files: []string{"cpu.rt_runtime_us"}, before: []string{"1000"}, after: []string{"2000"},
	},
	{
		name: "cpu.realtime both down", create: `{"cpu":{"realtimePeriod":1000000,"realtimeRuntime":2000}}`, update: `{"cpu":{"realtimePeriod":1000,"realtimeRuntime":2}}`,
		files: []string{"cpu.rt_period_us"}, before: []string{"1000000"}, after: []string{"1000"},
	},
	{
		name: "cpu.realtimePeriod", create: `{"cpu":{"realtimePeriod":500000}}`, update: `{"cpu":{"realtimePeriod":400000}}`,
		files: []string{"cpu.rt_period_us"}, before: []string{"500000"}, after: []string{"400000"},
	},
	{
		name: "cpu.cpus", create: `{"cpu":{"cpus":"0"}}`, update: `{"cpu":{"cpus":"1"}}`,
		files: []string{"cpuset.cpus"}, before: []string{"0"}, after: []string{"1"},
	},
	{
		name: "cpu.mems", create: `{"cpu":{"mems":"0"}}`, update: `{"cpu":{"mems":"0"}}`,
		files: []string{"cpuset.mems"}, before: []string{"0"}, after: []string{"0"},
	},
	{
		name: "pids.limit", create: `{"pids":{"limit":50}}`, update: `{"pids":{"limit":60}}`,
		files: []string{"pids.max"}, before: []string{"50"}, after: []string{"60"},
	},
	{
		name: "pids unlimited", create: `{"pids":{"limit":50}}`, update: `{"pids":{"limit":-1}}`,
		files: []string{"pids.max"}, before: []string{"50"}, after: []string{"max"},
	},
	{
		name: "pids.limit 0", create: `{"pids":{"limit":50}}`, update: `{"pids":{"limit":0}}`,
		files: []string{"pids.max"}, before: []string{"50"}, after: []string{"1"},
	},
	{
		name: "blockIO.weight", create: `{"blockIO":{"weight":200}}`, update: `{"blockIO":{"weight":300}}`,
		files:  []string{"blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"},
		before: []string{"200", "200", "default 200", "default 1920"}, after: []string{"300", "300", "default 300", "default 2930"},
	},
	{
		name:   "blockIO.weightDevice",
		create: `{"blockIO":{"weightDevice":[{%DEV,"weight":200}]}}`, update: `{"blockIO":{"weightDevice":[{%DEV,"weight":300}]}}`,
		files: []string{"blkio.bfq.weight_device", "io.bfq.weight"}, before: []string{"%DEV 200", "%DEV 200"}, after: []string{"%DEV 300", "%DEV 300"},
	},
	{
		name: "blockIO.leafWeight", create: `{"blockIO":{"leafWeight":200}}`, update: `{"blockIO":{"leafWeight":300}}`,
		files: []string{"blkio.leaf_weight"}, before: []string{"200"}, after: []string{"300"},
	},
	throttleLimit("Read", "Bps", "blkio.throttle.read_bps_device", "rbps"),
	throttleLimit("Write", "Bps", "blkio.throttle.write_bps_device", "wbps"),
	throttleLimit("Read", "IOPS", "blkio.throttle.read_iops_device", "riops"),
	throttleLimit("Write", "IOPS", "blkio.throttle.write_iops_device", "wiops"),
	{
		name: "hugepageLimits", create: `{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}`, update: `{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}`,
		files: []string{"hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"}, before: []string{"4194304", "4194304"}, after: []string{"2097152", "2097152"},
	},
	{
		name: "hugepageLimits of reservations", create: `{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}`, update: `{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}`,
		files: []string{"hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"}, before: []string{"4194304", "4194304"}, after: []string{"2097152", "2097152"},
	},
	{
		name: "network.classID", create: `{"network":{"classID":1048577}}`, update: `{"network":{"classID":1048578}}`,
		files: []string{"net_cls.classid"}, before: []string{"1048577"}, after: []string{"1048578"},
	},
	{
		name: "network.priorities", create: `{"network":{"priorities":[{"name":"lo","priority":5}]}}`, update: `{"network":{"priorities":[{"name":"lo","priority":6}]}}`,
		files: []string{"net_prio.ifpriomap"}, before: []string{"lo 5"}, after: []string{"lo 6"},
	},
	{
		name: "rdma", create: `{"rdma":{"%RDMA":{"hcaHandles":3}}}`, update: `{"rdma":{"%RDMA":{"hcaHandles":4}}}`,
		files: []string{"rdma.max"}, before: []string{"hca_handle=3"}, after: []string{"hca_handle=4"},
	},
	{
		name: "unified", create: `{"unified":{"memory.high":"67108864"}}`, update: `{"unified":{"memory.high":"33554432"}}`,
		files: []string{"memory.high"}, before: []string{"67108864"}, after: []string{"33554432"},
	},
}

func throttleLimit(way, unit, v1, v2 string) aLimit {
	name := "throttle" + way + unit + "Device"
	text := func(rate string) string { return `{"blockIO":{"` + name + `":[{%DEV,"rate":` + rate + `}]}}` }
	return aLimit{
		name: "blockIO." + name, create: text("1048576"), update: text("2097152"), files: []string{v1, "io.max"},
		before: []string{"%DEV 1048576", v2 + "=1048576"}, after: []string{"%DEV 2097152", v2 + "=2097152"},
	}
}

// TestEveryLimit sets each limit that this machine has at creation, reads it back from the
// kernel, changes it while the container runs, and reads it back again.
func TestEveryLimit(t *testing.T) {
	for _, l := range limits {
		t.Run(l.name, func(t *testing.T) { l.try(t) })
	}
}

func (l *aLimit) try(t *testing.T) {
	text, shown := func(s string) string { return s }, func(s string) string { return s }
	if strings.Contains(l.create, "%DEV") {
		major, minor, _ := strings.Cut(blockDevice(t, strings.Contains(l.name, "weight")), ":")
		text = func(s string) string {
			return strings.ReplaceAll(s, "%DEV", `"major":`+major+`,"minor":`+minor)
		}
		shown = func(s string) string { return strings.ReplaceAll(s, "%DEV", major+":"+minor) }
	}
	if strings.Contains(l.create, "%RDMA") {
		device := rdmaDevice(t)
		text = func(s string) string { return strings.ReplaceAll(s, "%RDMA", device) }
	}
	which := l.file(t)
	c := start(t, func(s *specs.Spec) {
		r := &specs.LinuxResources{}
		if err := json.Unmarshal([]byte(text(l.create)), r); err != nil {
			t.Fatal(err)
		}
		s.Linux.Resources = r
	})
	holds := func(when, want string) {
		t.Helper()
		got := read(t, limitFile(t, c.pid, l.files[which]))
		if !strings.Contains("\n"+got, "\n"+shown(want)) && !strings.Contains(" "+got+" ", " "+shown(want)+" ") {
			t.Errorf("%s: %s has %q, want %q", when, l.files[which], got, shown(want))
		}
	}
	holds("created", l.before[which])
	if l.noUpdate {
		return
	}
	c.update(t, text(l.update))
	holds("updated", l.after[which])
}

// file finds the first of the limit's files that a cgroup has here.
func (l *aLimit) file(t *testing.T) int {
	t.Helper()
	harness.NeedRoot(t)
	probe := start(t, nil)
	for i, name := range l.files {
		controller, _, _ := strings.Cut(name, ".")
		path := limitFile(t, probe.pid, name)
		if _, err := os.Stat(path); err == nil {
			return i
		}
		// A v2 cgroup gets the files of its controller with the first limit.
		all, _ := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
		if strings.HasPrefix(path, "/sys/fs/cgroup/unified") && slices.Contains(strings.Fields(string(all)), controller) && strings.HasSuffix(name, "max") {
			return i
		}
	}
	t.Skipf("this machine has none of %v", l.files)
	return 0
}

// blockDevice is the number of a block device that can be limited; weights are a matter of
// its scheduler, bfq.
func blockDevice(t *testing.T, weights bool) string {
	t.Helper()
	devices, _ := filepath.Glob("/sys/block/*/dev")
	for _, d := range devices {
		dir := filepath.Dir(d)
		scheduler, _ := os.ReadFile(dir + "/queue/scheduler")
		if !strings.HasPrefix(filepath.Base(dir), "ram") && (!weights || strings.Contains(string(scheduler), "[bfq]")) {
			return read(t, d)
		}
	}
	t.Skip("no block device to limit, or none with the bfq scheduler")
	return ""
}

// update changes limits as engines do.
func (c *container) update(t *testing.T, resources string) {
	t.Helper()
	if r := c.tryUpdate(resources); r.Code != 0 || r.Stdout != "" || r.Stderr != "" {
		t.Fatalf("update %s: %+v", resources, r)
	}
}

func (c *container) tryUpdate(resources string) harness.Result {
	return c.RunWith(func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader(resources) }, "update", "--resources", "-", c.id)
}

// TestBadLimitsAreRefusedByName wants a refusal that names the field, and nothing changed.
func TestBadLimitsAreRefusedByName(t *testing.T) {
	c := start(t, func(s *specs.Spec) { s.Linux.Resources = &specs.LinuxResources{} })
	for resources, field := range map[string]string{
		`{"memory":{"limit":-2}}`:                              "linux.resources.memory.limit",
		`{"memory":{"swap":5}}`:                                "linux.resources.memory.swap",
		`{"memory":{"swappiness":101}}`:                        "linux.resources.memory.swappiness",
		`{"cpu":{"quota":5}}`:                                  "linux.resources.cpu.quota",
		`{"cpu":{"period":5}}`:                                 "linux.resources.cpu.period",
		`{"cpu":{"quota":5000,"burst":6000}}`:                  "linux.resources.cpu.burst",
		`{"cpu":{"idle":2}}`:                                   "linux.resources.cpu.idle",
		`{"cpu":{"cpus":"x"}}`:                                 "linux.resources.cpu.cpus",
		`{"cpu":{"cpus":"4095"}}`:                              "linux.resources.cpu.cpus",
		`{"cpu":{"mems":"-"}}`:                                 "linux.resources.cpu.mems",
		`{"pids":{"limit":-2}}`:                                "linux.resources.pids.limit",
		`{"pids":{"limit":"x"}}`:                               "linux.resources.pids.limit",
		`{"blockIO":{"weight":5}}`:                             "linux.resources.blockIO.weight",
		`{"blockIO":{"throttleReadBpsDevice":[{"major":-1}]}}`: "linux.resources.blockIO.throttleReadBpsDevice[0].major",
		`{"hugepageLimits":[{"pageSize":"2M","limit":1}]}`:     "linux.resources.hugepageLimits[0].pageSize",
		`{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}`:    "linux.resources.hugepageLimits[0]",
		`{"network":{"priorities":[{"name":""}]}}`:             "linux.resources.network.priorities[0].name",
		`{"rdma":{"x":{}}}`:                                    "linux.resources.rdma.x",
		`{"unified":{"a/b":"1"}}`:                              "linux.resources.unified",
		`{"devices":[{"allow":true,"access":"x"}]}`:            "linux.resources.devices[0].access",
		`{"devices":[{"allow":true,"access":"r","type":"q"}]}`: "linux.resources.devices[0].type",
		`{"memory":{"limit":18446744073709551615}}`:            "linux.resources.memory.limit",
		`{"pids":{"limit":7},"blockIO":{"weight":1}}`:          "linux.resources.blockIO.weight",
		`[]`:                  "want an object",
		`null`:                "want an object",
		`{"pids":{"limit":7}`: "--resources",
	} {
		wantFailure(t, c.tryUpdate(resources), field)
	}
	if got := read(t, limitFile(t, c.pid, "pids.max")); got != "max" {
		t.Errorf("a refused update changed pids.max to %s", got)
	}
}
