package plan

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

func resources(t *testing.T, text string) *specs.LinuxResources {
	t.Helper()
	var res specs.LinuxResources
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&res); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &res
}

// written renders writes as "hierarchy:file=value", with "?" for those that may miss.
func written(t *testing.T, res *specs.LinuxResources, facts *host.Facts) []string {
	t.Helper()
	writes, err := resourceWrites(res, facts)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	var lines []string
	for _, w := range writes {
		line := w.Write.Hierarchy + ":" + w.Write.File + "=" + w.Write.Value
		if w.Write.MayMiss {
			line += "?"
		}
		if !strings.HasPrefix(w.Field, "linux.resources.") {
			t.Errorf("%s comes from %s", line, w.Field)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestResourceWrites(t *testing.T) {
	const p = "error: linux.resources."
	for _, c := range []struct {
		name, res string
		v1, v2    []string
	}{
		{"empty objects ask for nothing", `{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{}}`, nil, nil},
		{"zeros are not set", `{"memory":{"limit":0,"swap":0},"cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0},"network":{"classID":0}}`, nil, nil},
		{
			"memory comes before memory+swap", `{"memory":{"limit":1000,"swap":3000,"reservation":500}}`,
			[]string{"memory:memory.limit_in_bytes=1000", "memory:memory.memsw.limit_in_bytes=3000", "memory:memory.soft_limit_in_bytes=500"},
			[]string{":memory.swap.max=2000", ":memory.max=1000", ":memory.low=500"},
		},
		{
			"swap like memory is no swap", `{"memory":{"limit":1000,"swap":1000}}`,
			[]string{"memory:memory.limit_in_bytes=1000", "memory:memory.memsw.limit_in_bytes=1000"},
			[]string{":memory.swap.max=0?", ":memory.max=1000"},
		},
		{
			"no limit on memory is none on swap", `{"memory":{"limit":-1}}`,
			[]string{"memory:memory.limit_in_bytes=-1", "memory:memory.memsw.limit_in_bytes=-1?"},
			[]string{":memory.swap.max=max?", ":memory.max=max"},
		},
		{
			"limited memory, free swap", `{"memory":{"limit":1000,"swap":-1}}`,
			[]string{"memory:memory.limit_in_bytes=1000", "memory:memory.memsw.limit_in_bytes=-1"},
			[]string{":memory.swap.max=max?", ":memory.max=1000"},
		},
		{
			"swap without memory", `{"memory":{"swap":1000}}`,
			[]string{p + "memory.swap: unable to set swap limit without memory limit"},
			[]string{p + "memory.swap: unable to set swap limit without memory limit"},
		},
		{
			"less swap than memory", `{"memory":{"limit":2000,"swap":1000}}`,
			[]string{p + "memory.swap: memory+swap limit should be >= memory limit"},
			[]string{p + "memory.swap: memory+swap limit should be >= memory limit"},
		},
		{
			"the rest of memory", `{"memory":{"kernel":7,"kernelTCP":8,"swappiness":60,"disableOOMKiller":true,"useHierarchy":true,"checkBeforeUpdate":true}}`,
			[]string{
				"memory:memory.use_hierarchy=1?", "memory:memory.kmem.limit_in_bytes=7?", "memory:memory.kmem.tcp.limit_in_bytes=8?",
				"memory:memory.swappiness=60", "memory:memory.oom_control=1",
			},
			[]string{p + "memory.swappiness: cgroup v2 has no such setting\nlinux.resources.memory.disableOOMKiller: cgroup v2 has no such setting"},
		},
		{"switches that are off", `{"memory":{"swappiness":18446744073709551615,"disableOOMKiller":false,"useHierarchy":false,"checkBeforeUpdate":false}}`, nil, nil},
		{
			"too much swappiness", `{"memory":{"swappiness":101}}`,
			[]string{p + "memory.swappiness: not in the range from 0 to 100"},
			[]string{p + "memory.swappiness: not in the range from 0 to 100"},
		},
		{
			"cpu time", `{"cpu":{"shares":1024,"quota":50000,"period":200000,"burst":1000,"idle":1}}`,
			[]string{
				"cpu,cpuacct:cpu.shares=1024", "cpu,cpuacct:cpu.cfs_period_us=200000", "cpu,cpuacct:cpu.cfs_quota_us=50000",
				"cpu,cpuacct:cpu.cfs_burst_us=1000?", "cpu,cpuacct:cpu.idle=1",
			},
			[]string{":cpu.weight=100", ":cpu.max=50000 200000", ":cpu.max.burst=1000", ":cpu.idle=1"},
		},
		{"a quota alone has the default period", `{"cpu":{"quota":50000}}`, []string{"cpu,cpuacct:cpu.cfs_quota_us=50000"}, []string{":cpu.max=50000 100000"}},
		{"no quota", `{"cpu":{"quota":-1}}`, []string{"cpu,cpuacct:cpu.cfs_quota_us=-1"}, []string{":cpu.max=max 100000"}},
		{"a period alone", `{"cpu":{"period":5000}}`, []string{"cpu,cpuacct:cpu.cfs_period_us=5000"}, []string{":cpu.max=max 5000"}},
		{
			"realtime", `{"cpu":{"realtimePeriod":1000000,"realtimeRuntime":950000}}`,
			[]string{"cpu,cpuacct:cpu.rt_period_us=1000000", "cpu,cpuacct:cpu.rt_runtime_us=950000"},
			[]string{p + "cpu.realtimePeriod: cgroup v2 has no such setting\nlinux.resources.cpu.realtimeRuntime: cgroup v2 has no such setting"},
		},
		{"shares that v1 would change", `{"cpu":{"shares":1}}`, []string{p + "cpu.shares: not in the range from 2 to 262144"}, []string{":cpu.weight=1"}},
		{"cpuset", `{"cpu":{"cpus":"0-1","mems":"0"}}`, []string{"cpuset:cpuset.cpus=0-1", "cpuset:cpuset.mems=0"}, []string{":cpuset.cpus=0-1", ":cpuset.mems=0"}},
		{"pids", `{"pids":{"limit":9}}`, []string{"pids:pids.max=9"}, []string{":pids.max=9"}},
		{"no limit on pids", `{"pids":{"limit":-1}}`, []string{"pids:pids.max=max"}, []string{":pids.max=max"}},
		{"no pids", `{"pids":{"limit":0}}`, []string{"pids:pids.max=1"}, []string{":pids.max=1"}},
		{
			"block weights", `{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}]}}`,
			[]string{"blkio:blkio.weight=500", "blkio:blkio.weight_device=8:0 300"},
			[]string{":io.bfq.weight=500", ":io.bfq.weight=8:0 300"},
		},
		{
			"leaf weights", `{"blockIO":{"leafWeight":500,"weightDevice":[{"major":8,"minor":0,"leafWeight":300}]}}`,
			[]string{"blkio:blkio.leaf_weight=500", "blkio:blkio.leaf_weight_device=8:0 300"},
			[]string{p + "blockIO.leafWeight: cgroup v2 has no such setting\nlinux.resources.blockIO.weightDevice[0].leafWeight: cgroup v2 has no such setting"},
		},
		{
			"block weight out of range", `{"blockIO":{"weight":9}}`,
			[]string{p + "blockIO.weight: not in the range from 10 to 1000"},
			[]string{p + "blockIO.weight: not in the range from 10 to 1000"},
		},
		{
			"block rates", `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
			"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}`,
			[]string{
				"blkio:blkio.throttle.read_bps_device=8:0 1", "blkio:blkio.throttle.write_bps_device=8:0 2",
				"blkio:blkio.throttle.read_iops_device=8:0 3", "blkio:blkio.throttle.write_iops_device=8:0 0",
			},
			[]string{":io.max=8:0 rbps=1", ":io.max=8:0 wbps=2", ":io.max=8:0 riops=3", ":io.max=8:0 wiops=max"},
		},
		{
			"huge pages", `{"hugepageLimits":[{"pageSize":"2MB","limit":4}]}`,
			[]string{"hugetlb:hugetlb.2MB.limit_in_bytes=4", "hugetlb:hugetlb.2MB.rsvd.limit_in_bytes=4?"},
			[]string{":hugetlb.2MB.max=4", ":hugetlb.2MB.rsvd.max=4?"},
		},
		{
			"a page size that names another file", `{"hugepageLimits":[{"pageSize":"../x/2MB","limit":4}]}`,
			[]string{p + `hugepageLimits[0].pageSize: "../x/2MB" is not a number with KB, MB or GB`},
			[]string{p + `hugepageLimits[0].pageSize: "../x/2MB" is not a number with KB, MB or GB`},
		},
		{
			"network", `{"network":{"classID":65537,"priorities":[{"name":"eth0","priority":5}]}}`,
			[]string{"net_cls:net_cls.classid=65537", "net_prio:net_prio.ifpriomap=eth0 5"},
			[]string{p + "network.classID: cgroup controller net_cls is not available\nlinux.resources.network.priorities[0]: cgroup controller net_prio is not available"},
		},
		{
			"rdma", `{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1},"none":{}}}`,
			[]string{"rdma:rdma.max=mlx4_0 hca_object=1", "rdma:rdma.max=mlx5_1 hca_handle=3 hca_object=10000"},
			[]string{":rdma.max=mlx4_0 hca_object=1", ":rdma.max=mlx5_1 hca_handle=3 hca_object=10000"},
		},
		{
			"unified", `{"unified":{"memory.high":"1000","cgroup.max.depth":"3","io.max":"8:0 rbps=1\n8:0 wbps=2"}}`,
			[]string{p + "unified: invalid configuration: cannot use unified on cgroup v1"},
			[]string{":cgroup.max.depth=3", ":io.max=8:0 rbps=1\n", ":io.max=8:0 wbps=2", ":memory.high=1000"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := resources(t, c.res)
			for _, mode := range []host.CgroupMode{host.CgroupV1, host.CgroupHybrid} {
				if diff := cmp.Diff(c.v1, written(t, res, v1Facts(mode))); diff != "" {
					t.Errorf("%s:\n%s", mode, diff)
				}
			}
			if diff := cmp.Diff(c.v2, written(t, res, v2Facts())); diff != "" {
				t.Errorf("v2:\n%s", diff)
			}
		})
	}
}

func TestUnifiedFilesThatAreRefused(t *testing.T) {
	for _, file := range []string{"../memory.max", "memory", ".max", "perf_event.x"} {
		res := &specs.LinuxResources{Unified: map[string]string{file: "1"}}
		if writes, err := resourceWrites(res, v2Facts()); err == nil {
			t.Errorf("%q: got %v", file, writes)
		}
	}
}

func TestPageSizes(t *testing.T) {
	for size, want := range map[string]bool{
		"64KB": true, "2MB": true, "1GB": true, "": false, "MB": false, "2mb": false, "2TB": false,
		"2M": false, "-2MB": false, "2 MB": false, "2MB.rsvd": false, "2MB\n": false, "x2MB": false,
	} {
		if isPageSize(size) != want {
			t.Errorf("%q: want %v", size, want)
		}
	}
}

func TestHybridControllersOfV2AreUsed(t *testing.T) {
	facts := &host.Facts{Cgroup: host.Cgroup{Mode: host.CgroupHybrid, Hierarchies: []host.Hierarchy{
		{Name: "memory", Mount: "/cg/memory", Own: "/", Controllers: []string{"memory"}},
		{Mount: "/cg/unified", Own: "/", Controllers: []string{"hugetlb"}},
	}}}
	res := resources(t, `{"hugepageLimits":[{"pageSize":"1GB","limit":4}],"memory":{"limit":5}}`)
	want := []string{"memory:memory.limit_in_bytes=5", ":hugetlb.1GB.max=4", ":hugetlb.1GB.rsvd.max=4?"}
	if diff := cmp.Diff(want, written(t, res, facts)); diff != "" {
		t.Error(diff)
	}
}

// Weights that opencontainers/cgroups v0.1.0 gives.
func TestCPUWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{
		1: 1, 2: 1, 3: 2, 10: 4, 102: 17, 512: 59, 1024: 100, 2048: 174, 65536: 3023, 262143: 10000, 262144: 10000, 1 << 40: 10000,
	} {
		if got := cpuWeight(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
}

// notWrites are the fields that make no write, with the reason.
var notWrites = map[string]string{
	"Devices":                  "compiled by deviceRules",
	"Memory.CheckBeforeUpdate": "about `update`: a new container uses no memory yet",
}

// TestEveryLimitIsWrittenOrRefused sets one field after the other and expects it to be
// written on a machine that has every controller, and to be refused by name on one that
// has none.
func TestEveryLimitIsWrittenOrRefused(t *testing.T) {
	var walk func(typ reflect.Type, path string, set func(*specs.LinuxResources) reflect.Value)
	walk = func(typ reflect.Type, path string, set func(*specs.LinuxResources) reflect.Value) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := strings.TrimPrefix(path+"."+f.Name, ".")
			field := func(res *specs.LinuxResources) reflect.Value { return set(res).Field(i) }
			if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct {
				walk(f.Type.Elem(), name, func(res *specs.LinuxResources) reflect.Value {
					v := field(res)
					if v.IsNil() {
						v.Set(reflect.New(f.Type.Elem()))
					}
					return v.Elem()
				})
				continue
			}
			if notWrites[name] != "" {
				continue
			}
			expectWriteOrRefusal(t, name, field)
		}
	}
	walk(reflect.TypeFor[specs.LinuxResources](), "", func(res *specs.LinuxResources) reflect.Value {
		return reflect.ValueOf(res).Elem()
	})
}

// expectWriteOrRefusal sets one field, on a machine with every controller and on one
// with none.
func expectWriteOrRefusal(t *testing.T, name string, field func(*specs.LinuxResources) reflect.Value) {
	t.Helper()
	var res specs.LinuxResources
	fill(field(&res))
	facts := v1Facts(host.CgroupV1)
	if name == "Memory.Swap" { // is nothing without a limit
		one := int64(1)
		res.Memory.Limit = &one
	}
	if name == "Unified" {
		res.Unified, facts = map[string]string{"memory.high": "1"}, v2Facts()
	}
	if writes, err := resourceWrites(&res, facts); err != nil || len(writes) == 0 {
		t.Errorf("%s is ignored where it can be set: %v", name, err)
	}
	none := &host.Facts{Cgroup: host.Cgroup{Mode: host.CgroupV1}}
	if _, err := resourceWrites(&res, none); err == nil {
		t.Errorf("%s is ignored where it can't be set", name)
	}
}

// fill puts something valid into a field of any kind.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.SetMapIndex(reflect.ValueOf("name"), value)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.String:
		v.SetString("2MB")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(20)
	default:
		v.SetUint(20)
	}
}
