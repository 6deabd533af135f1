package resctrl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// fake is a tree that looks like resctrl: plain files, and a mkdir that fills new groups as
// the kernel does. No machine of ours has the real one.
func fake(t *testing.T) *Tree {
	t.Helper()
	root := t.TempDir()
	tree := At(root)
	tree.mkdir = func(dir string) error {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			return err
		}
		fill(t, dir, map[string]string{"tasks": "", "schemata": "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"})
		return unix.Mkdir(dir+"/mon_groups", 0o755)
	}
	fill(t, root, map[string]string{
		"tasks": "", "schemata": "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n", "info/last_cmd_status": "ok\n",
		"info/L3/cbm_mask": "7ff\n", "info/L3/min_cbm_bits": "1\n", "info/L3/num_closids": "16\n",
		"info/MB/bandwidth_gran": "10\n", "info/MB/delay_linear": "1\n", "info/MB/min_bandwidth": "10\n", "info/MB/num_closids": "8\n",
		"info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
	})
	if err := os.Mkdir(root+"/mon_groups", 0o755); err != nil {
		t.Fatal(err)
	}
	return tree
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func exists(dir string) bool {
	_, err := os.Lstat(dir)
	return err == nil
}

// TestOwnGroupComesAndGoesWithTheContainer: no closID, so the group has the container's name.
func TestOwnGroupComesAndGoesWithTheContainer(t *testing.T) {
	tree := fake(t)
	a := &plan.MakeResctrlGroup{Root: tree.root, Name: "box", Own: true, Monitor: "box"}
	place, err := tree.Make(a)
	want := state.IntelRdt{Root: tree.root, Group: tree.root + "/box", Made: true, Monitor: tree.root + "/box/mon_groups/box"}
	if err != nil || place != want {
		t.Fatalf("%+v, %v", place, err)
	}
	if err := tree.Write(&plan.WriteSchemata{Group: place.Group, Lines: []string{"L3:0=f", "MB:0=20"}}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, place.Group+"/schemata"); !strings.HasPrefix(got, "L3:0=f\nMB:0=20\n") {
		t.Errorf("schemata %q", got)
	}
	if err := tree.Join(&plan.JoinResctrlGroup{Group: place.Group, Monitor: place.Monitor}, 77); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{place.Group, place.Monitor} {
		if got := content(t, dir+"/tasks"); got != "77" {
			t.Errorf("%s/tasks has %q", dir, got)
		}
	}
}

// TestRemoveTakesWhatWasMade: directories of the kernel go with what is in them, those here
// are empty.
func TestRemoveTakesWhatWasMade(t *testing.T) {
	root := t.TempDir()
	place := state.IntelRdt{Root: root, Group: root + "/box", Made: true, Monitor: root + "/monitor"}
	for _, dir := range []string{place.Group, place.Monitor} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what is gone already is fine
		if err := Remove(&place); err != nil || exists(place.Group) || exists(place.Monitor) {
			t.Errorf("%v: group %v, monitor %v", err, exists(place.Group), exists(place.Monitor))
		}
	}
}

func TestGroupThatWasThereStays(t *testing.T) {
	tree := fake(t)
	if err := tree.mkdir(tree.root + "/box"); err != nil {
		t.Fatal(err)
	}
	place, err := tree.Make(&plan.MakeResctrlGroup{Root: tree.root, Name: "box", Own: true})
	if err != nil || place.Made {
		t.Fatalf("%+v, %v", place, err)
	}
	if err := Remove(&place); err != nil || !exists(place.Group) {
		t.Errorf("it was removed, or %v", err)
	}
}

func TestNamedClass(t *testing.T) {
	tree := fake(t)
	named := func(change func(*plan.MakeResctrlGroup)) (state.IntelRdt, error) {
		a := &plan.MakeResctrlGroup{Root: tree.root, Name: "gold"}
		change(a)
		return tree.Make(a)
	}
	_, err := named(func(a *plan.MakeResctrlGroup) { a.MustExist = true })
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("without schemata it must be there: %v", err)
	}
	place, err := named(func(a *plan.MakeResctrlGroup) { a.Match = []string{"L3:0=7ff"} })
	if err != nil || place.Made || !exists(tree.root+"/gold") {
		t.Errorf("a missing class is made, and is nobody's: %+v, %v", place, err)
	}
	if _, err = named(func(a *plan.MakeResctrlGroup) { a.Match = []string{"L3:0=7ff;1=07FF", "MB:0=100"} }); err != nil {
		t.Errorf("one that agrees: %v", err)
	}
	_, err = named(func(a *plan.MakeResctrlGroup) { a.Match = []string{"L3:0=7f"} })
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Want != "L3:0=7f" {
		t.Errorf("one that does not agree: %v", err)
	}
	if _, err = named(func(a *plan.MakeResctrlGroup) { a.MustExist = true }); err != nil {
		t.Errorf("now it is there: %v", err)
	}
}

func TestDefaultClass(t *testing.T) {
	tree := fake(t)
	place, err := tree.Make(&plan.MakeResctrlGroup{Root: tree.root, Monitor: "box"})
	if err != nil || place.Made || place.Group != tree.root || place.Monitor != tree.root+"/mon_groups/box" {
		t.Errorf("%+v, %v", place, err)
	}
}

// TestErrorsHaveTheKernelsReasons: errno says little, info/last_cmd_status says why.
func TestErrorsHaveTheKernelsReasons(t *testing.T) {
	tree := fake(t)
	fill(t, tree.root, map[string]string{"info/last_cmd_status": "Out of CLOSIDs\n"})
	tree.mkdir = func(string) error { return unix.ENOSPC }
	_, err := tree.Make(&plan.MakeResctrlGroup{Root: tree.root, Name: "box", Own: true})
	want := "mkdir " + tree.root + "/box: Out of CLOSIDs: no space left on device"
	if !errors.Is(err, unix.ENOSPC) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestMonitoringGroupThatCantBeMadeIsAnError and the class, which was made, is known.
func TestMonitoringGroupThatCantBeMadeIsAnError(t *testing.T) {
	tree := fake(t)
	mkdir := tree.mkdir
	tree.mkdir = func(dir string) error {
		if strings.Contains(dir, "mon_groups") {
			return unix.ENOSPC
		}
		return mkdir(dir)
	}
	place, err := tree.Make(&plan.MakeResctrlGroup{Root: tree.root, Name: "box", Own: true, Monitor: "box"})
	if !errors.Is(err, unix.ENOSPC) || !place.Made || place.Monitor != "" {
		t.Errorf("%+v, %v", place, err)
	}
}

func TestAgrees(t *testing.T) {
	const schemata = "    MB:0= 20;1=100\n    L3:0=00f;1=7ff\n"
	for line, want := range map[string]bool{
		"L3:0=f": true, "L3:0=f;1=7ff": true, "L3:1=0x7FF": true, "L3:0=f;1=7fe": false, "L3:2=f": false,
		"MB:0=20": true, "MB:0=2": false, "L2:0=f": false, "L3:": false, "": false,
	} {
		if got := agrees(schemata, line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestReadStats(t *testing.T) {
	tree := fake(t)
	place, err := tree.Make(&plan.MakeResctrlGroup{Root: tree.root, Name: "box", Own: true, Monitor: "box"})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, place.Group, map[string]string{"schemata": "    MB:0=20\n    L3:0=f\n", "mon_data/mon_L3_00/llc_occupancy": "99\n"})
	fill(t, place.Monitor, map[string]string{
		"mon_data/mon_L3_00/llc_occupancy": "1\n", "mon_data/mon_L3_00/mbm_total_bytes": "2\n", "mon_data/mon_L3_00/mbm_local_bytes": "3\n",
		"mon_data/mon_L3_01/llc_occupancy": "4\n", "mon_data/mon_L3_01/mbm_total_bytes": "Unavailable\n", "mon_data/mon_L3_01/mbm_local_bytes": "6\n",
	})
	got, err := ReadStats(&place)
	if err != nil {
		t.Fatal(err)
	}
	want := Stats{
		L3CacheInfo: &CacheInfo{"7ff", 1, 16}, L3CacheSchemaRoot: "L3:0=7ff;1=7ff", L3CacheSchema: "L3:0=f",
		MemBwInfo: &BandwidthInfo{10, 1, 10, 8}, MemBwSchemaRoot: "MB:0=100;1=100", MemBwSchema: "MB:0=20",
		Schemata: []string{"MB:0=20", "L3:0=f"}, Bandwidth: &[]Bandwidth{{2, 3}, {0, 6}}, Occupancy: &[]Occupancy{{1}, {4}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	place.Monitor = ""
	if got, err = ReadStats(&place); err != nil || got.Occupancy == nil || (*got.Occupancy)[0].Bytes != 99 {
		t.Errorf("without a monitoring group the class's figures: %+v, %v", got.Occupancy, err)
	}
}
