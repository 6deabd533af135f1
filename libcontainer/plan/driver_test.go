package plan

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
)

func TestUnitOfCgroupsPath(t *testing.T) {
	for _, c := range []struct {
		path             string
		user             bool
		slice, name, dir string
	}{
		{"", false, "system.slice", "runc-id.scope", "/system.slice/runc-id.scope"},
		{"", true, "user.slice", "runc-id.scope", "/user.slice/runc-id.scope"},
		{"::x", false, "system.slice", "-x.scope", "/system.slice/-x.scope"},
		{":docker:x", true, "user.slice", "docker-x.scope", "/user.slice/docker-x.scope"},
		{"machine.slice:libpod:x", false, "machine.slice", "libpod-x.scope", "/machine.slice/libpod-x.scope"},
		{
			"kubepods-burstable-pod1_2.slice:cri-containerd:abc", false, "kubepods-burstable-pod1_2.slice", "cri-containerd-abc.scope",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope",
		},
		{"-.slice:p:x", false, "-.slice", "p-x.scope", "/p-x.scope"},
		{"a.slice:p:x.service", false, "a.slice", "p-x.service.scope", "/a.slice/p-x.service.scope"},
	} {
		u, err := unitFor(c.path, "id", c.user)
		if err != nil {
			t.Errorf("%q: %v", c.path, err)
			continue
		}
		if u.Slice != c.slice || u.Name != c.name || u.Path() != c.dir || u.User != c.user {
			t.Errorf("%q: %+v at %s", c.path, u, u.Path())
		}
	}
}

func TestUnitOfCgroupsPathRefuses(t *testing.T) {
	for path, why := range map[string]string{
		"/a/b":                           "slice:prefix:name",
		"a.slice:b":                      "slice:prefix:name",
		"a.slice:b:c:d":                  "slice:prefix:name",
		"a.slice:b:":                     "no name",
		"a.slice:b:c.slice":              "is a slice",
		"a:b:c":                          "invalid slice name",
		".slice:b:c":                     "invalid slice name",
		"a--b.slice:b:c":                 "invalid slice name",
		"-a.slice:b:c":                   "invalid slice name",
		"a-.slice:b:c":                   "invalid slice name",
		"a/b.slice:b:c":                  "invalid slice name",
		"a@b.slice:b:c":                  "invalid slice name",
		"a.slice:b/..:c":                 "not a valid unit name",
		"a.slice:b:c d":                  "not a valid unit name",
		"a.slice:b:c+d":                  "not a valid unit name",
		"a.slice:b:c\u00e9":              "not a valid unit name",
		":b:" + strings.Repeat("x", 250): "not a valid unit name",
	} {
		_, err := unitFor(path, "id", false)
		var problem *Problem
		if !errors.As(err, &problem) || problem.Field != cgroupsPathField || !strings.Contains(problem.What, why) {
			t.Errorf("%q: %v, want %q", path, err, why)
		}
	}
	if _, err := unitFor("", "a+b", false); err == nil {
		t.Error("an id that no unit can have is accepted")
	}
}

func TestPropertiesOfCgroupFiles(t *testing.T) {
	const none = math.MaxUint64
	number := func(name string, n uint64) Property { return Property{Name: name, Value: gvariant.Uint64(n)} }
	period := func(n uint64) Property {
		return Property{Name: "CPUQuotaPeriodUSec", Value: gvariant.Uint64(n), MayMiss: true}
	}
	mask := func(name string, b ...byte) Property {
		return Property{Name: name, Value: gvariant.Bytes(b), MayMiss: true}
	}
	for _, c := range []struct {
		writes string // FILE VALUE, in lines
		want   []Property
	}{
		{"pids.max 5", []Property{number("TasksMax", 5)}},
		{"pids.max max", []Property{number("TasksMax", none)}},
		{"memory.max 100\nmemory.low 50\nmemory.high max\nmemory.min 0\nmemory.swap.max 0", []Property{
			number("MemoryMax", 100), number("MemoryLow", 50), number("MemoryHigh", none), number("MemoryMin", 0), number("MemorySwapMax", 0),
		}},
		{"memory.max 100\nmemory.max 200", []Property{number("MemoryMax", 200)}},
		{"memory.limit_in_bytes -1", []Property{number("MemoryLimit", none)}},
		{"cpu.weight 59", []Property{number("CPUWeight", 59)}},
		{"cpu.shares 512", []Property{number("CPUShares", 512)}},
		{"cpu.idle 0", nil},
		{"cpu.weight 59\ncpu.idle 1", []Property{{Name: "CPUWeight", Value: gvariant.Uint64(0), MayMiss: true}}},
		{"cpu.max 50000 100000", []Property{period(100000), number("CPUQuotaPerSecUSec", 500000)}},
		{"cpu.max 12345 50000", []Property{period(50000), number("CPUQuotaPerSecUSec", 250000)}},
		{"cpu.max 1 1000000", []Property{period(1000000), number("CPUQuotaPerSecUSec", 10000)}},
		{"cpu.max max 50000", []Property{period(50000), number("CPUQuotaPerSecUSec", none)}},
		{"cpu.max 20000", []Property{period(100000), number("CPUQuotaPerSecUSec", 200000)}},
		{"cpu.cfs_period_us 50000\ncpu.cfs_quota_us 20000", []Property{period(50000), number("CPUQuotaPerSecUSec", 400000)}},
		{"cpu.cfs_quota_us -1", []Property{period(100000), number("CPUQuotaPerSecUSec", none)}},
		{"cpu.cfs_period_us 50000", []Property{period(50000)}},
		{"cpuset.cpus 0-1,9\ncpuset.mems 0", []Property{mask("AllowedCPUs", 3, 2), mask("AllowedMemoryNodes", 1)}},
		{"cpuset.cpus 16", []Property{mask("AllowedCPUs", 0, 0, 1)}},
		{"io.bfq.weight 10\nio.bfq.weight 8:0 500", []Property{number("IOWeight", 1)}},
		{"io.bfq.weight 1000", []Property{number("IOWeight", 10000)}},
		{"io.weight default 77", []Property{number("IOWeight", 77)}},
		{"io.weight 8:0 77", nil},
		{"blkio.weight 500", []Property{number("BlockIOWeight", 500)}},
		{"hugetlb.2MB.max 5\nrdma.max x\nio.max 8:0 rbps=5", nil},
	} {
		var writes []WriteCgroup
		for line := range strings.SplitSeq(c.writes, "\n") {
			file, value, _ := strings.Cut(line, " ")
			writes = append(writes, WriteCgroup{File: file, Value: value})
		}
		if diff := cmp.Diff(c.want, Properties(writes)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.writes, diff)
		}
	}
}

func TestAnnotatedProperties(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"CollectMode", "'inactive-or-failed'", "CollectMode='inactive-or-failed'"},
		{"TimeoutStopUSec", "uint64 123456789", "TimeoutStopUSec=uint64 123456789"},
		{"TimeoutStopSec", "5", "TimeoutStopUSec=uint64 5000000"},
		{"TimeoutStopSec", "1.5", "TimeoutStopUSec=uint64 1500000"},
		{"After", "['a.service', 'b.service']", "After=['a.service', 'b.service']"},
		{"FooUSec", "uint64 7", "FooUSec=uint64 7"},
		{"MemoryMax", "@t 5", "MemoryMax=uint64 5"},
	} {
		list, errs := annotatedProperties(map[string]string{propertyPrefix + c.name: c.text, "org.systemd.other": "x"})
		if len(list) != 1 || len(errs) > 0 || list[0].String() != c.want {
			t.Errorf("%s %s: %v, %v, want %s", c.name, c.text, list, errs, c.want)
		}
	}
	for name, text := range map[string]string{
		"": "5", "ab": "5", "A-b-c": "5", "Foo": "bar", "FooSec": "'x'", "BarSec": "-1", "PIDs": "[uint32 1]", "Delegate": "false", "Slice": "'x.slice'",
	} {
		key := propertyPrefix + name
		_, errs := annotatedProperties(map[string]string{key: text})
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), `annotations["`+key+`"]: `) {
			t.Errorf("%s %s: %v", name, text, errs)
		}
	}
}
