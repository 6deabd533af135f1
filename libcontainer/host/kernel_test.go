package host

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		release string
		want    Version
		ok      bool
	}{
		{"6.1.0-18-amd64", Version{6, 1}, true},
		{"5.10", Version{5, 10}, true},
		{"6.18-rc1", Version{6, 18}, true},
		{"4.19.0-27-amd64", Version{4, 19}, true},
		{"5.10.0-30-amd64", Version{5, 10}, true},
		{"6.18.5+", Version{6, 18}, true},
		{"5.9-rc1", Version{5, 9}, true},
		{"5.10+", Version{5, 10}, true},
		{"5.15.167.4-microsoft-standard-WSL2", Version{5, 15}, true},
		{"3.10.0-1160.119.1.el7.x86_64", Version{3, 10}, true},
		{"6.6.31+rpt-rpi-2712", Version{6, 6}, true},
		{"2.6.78", Version{2, 6}, true}, // what setarch --uname-2.6 makes of 6.18
		{"4.18.0-553.el8", Version{4, 18}, true},
		{"123456789.0.0", Version{123456789, 0}, true},
		{"99999999999.1", Version{}, false},
		{"6", Version{}, false},
		{"6.", Version{}, false},
		{"six.one", Version{}, false},
		{"", Version{}, false},
	} {
		t.Run(c.release, func(t *testing.T) {
			got, ok := parseVersion([]byte(c.release))
			if ok != c.ok || ok && got != c.want {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}

func TestCheckKernel(t *testing.T) {
	for _, c := range []struct {
		kernel Version
		ok     bool
	}{
		{Version{5, 9}, false},
		{Version{2, 6}, false},
		{Version{4, 19}, false},
		{Version{}, false},
		{Version{5, 10}, true},
		{Version{6, 0}, true},
	} {
		err := (&Facts{Kernel: c.kernel}).CheckKernel()
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrKernel) {
			t.Errorf("%v: %v", c.kernel, err)
		}
	}
	err := (&Facts{Kernel: Version{5, 4}}).CheckKernel()
	if !strings.Contains(err.Error(), "5.4") || !strings.Contains(err.Error(), "5.10") {
		t.Errorf("%q doesn't name both versions", err)
	}
}

func TestFactsSurviveJSON(t *testing.T) {
	want := Facts{
		Kernel: Version{6, 18}, UID: 4294967295, GID: 1, UserNS: true, LastCap: 40,
		Cgroup: Cgroup{Mode: CgroupHybrid, Hierarchies: []Hierarchy{
			{Name: "systemd", Mount: "/m/systemd", Own: "/a", Named: true},
			{Name: "cpu,cpuacct", Mount: "/m/cpu", Own: "/", Controllers: []string{"cpu", "cpuacct"}},
			{Name: "", Mount: "/m/unified", Own: "/", Controllers: []string{"hugetlb"}},
		}},
		NoFile: Rlimit{1024, 1<<64 - 1},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Facts
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
