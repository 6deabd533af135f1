package libcontainer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// classed is a hand-made container, without cgroups, in a class of service of a tree that looks
// like resctrl. It returns the class's schemata file.
func classed(t *testing.T, r *Runtime, config string) (schemata string) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"info/L3", "info/MB", "gold"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	schemata = root + "/gold/schemata"
	if err := os.WriteFile(schemata, []byte("L3:0=7ff\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := state.Create(r.Root, "c")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	st := &state.State{ID: "c", Init: startProgram(t).identify(t), IntelRdt: state.IntelRdt{Root: root, Group: root + "/gold"}}
	if err := errors.Join(dir.SaveConfig([]byte(config)), dir.Save(st)); err != nil {
		t.Fatal(err)
	}
	return schemata
}

const goldConfig = `{"linux":{"intelRdt":{"closID":"gold","l3CacheSchema":"L3:0=7ff"}}}`

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUpdateChangesSchemata(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	schemata := classed(t, r, goldConfig)
	err := r.Update(&UpdateOptions{ID: "c", Resources: &specs.LinuxResources{}, L3CacheSchema: "L3:0=00f", MemBwSchema: "MB:0=20"})
	if err != nil {
		t.Fatal(err)
	}
	// A plain file keeps the last write alone, at its start.
	if got := text(t, schemata); !strings.HasPrefix(got, "MB:0=20\n") {
		t.Errorf("schemata %q", got)
	}
	spec, _, err := bundle.Decode([]byte(text(t, r.Root+"/c/config.json")))
	if err != nil || spec.Linux.IntelRdt.L3CacheSchema != "L3:0=00f" || spec.Linux.IntelRdt.MemBwSchema != "MB:0=20" || spec.Linux.IntelRdt.ClosID != "gold" {
		t.Errorf("kept: %+v, %v", spec.Linux.IntelRdt, err)
	}
}

// TestUpdateTakesEverythingBack: the last step, device rules, fails for want of a cgroup.
func TestUpdateTakesEverythingBack(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	schemata := classed(t, r, goldConfig)
	rules := []specs.LinuxDeviceCgroup{{Allow: true, Type: "b", Access: "r"}}
	err := r.Update(&UpdateOptions{ID: "c", Resources: &specs.LinuxResources{Devices: rules}, L3CacheSchema: "L3:0=f"})
	var refused *UpdateError
	if !errors.As(err, &refused) || refused.Field != "linux.resources.devices" || !errors.Is(err, cgroup.ErrNoDevices) {
		t.Fatal(err)
	}
	if got := text(t, schemata); !strings.HasPrefix(got, "L3:0=7ff\n") {
		t.Errorf("schemata %q", got)
	}
	if got := text(t, r.Root+"/c/config.json"); got != goldConfig {
		t.Errorf("config %s", got)
	}
}

func TestUpdateSchemataOfNoClass(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	classed(t, r, `{}`)
	for field, o := range map[string]*UpdateOptions{
		"linux.intelRdt.l3CacheSchema": {L3CacheSchema: "L3:0=f"},
		"linux.intelRdt.memBwSchema":   {MemBwSchema: "MB:0=20"},
	} {
		o.ID, o.Resources = "c", &specs.LinuxResources{}
		err := r.Update(o)
		if err == nil || err.Error() != field+": updating a non-existent Intel RDT configuration is not supported" {
			t.Errorf("%v", err)
		}
	}
	wrong := &UpdateOptions{ID: "c", Resources: &specs.LinuxResources{}, MemBwSchema: "L3:0=f"}
	r = &Runtime{Root: t.TempDir()}
	classed(t, r, goldConfig)
	if err := r.Update(wrong); !strings.Contains(err.Error(), "must start with MB:") {
		t.Errorf("%v", err)
	}
}

func TestUpdateOfControllersThatAreMissing(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	classed(t, r, `{}`)
	err := r.Update(&UpdateOptions{ID: "c", Resources: &specs.LinuxResources{
		Pids: &specs.LinuxPids{Limit: new(int64(5))}, Memory: &specs.LinuxMemory{Limit: new(int64(1 << 20))},
	}})
	var invalid *validate.Error
	if !errors.As(err, &invalid) || len(invalid.Problems) != 2 || invalid.Problems[0].Path != "linux.resources.pids.limit" {
		t.Errorf("%v", err)
	}
}

func TestUpdateOfAStoppedContainer(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	made(t, r, &state.State{ID: "c", Init: state.Process{PID: os.Getpid(), StartTime: 1}})
	if err := r.Update(&UpdateOptions{ID: "c", Resources: &specs.LinuxResources{}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v", err)
	}
}

func TestUpdateIgnoresKernelMemoryWithAWarning(t *testing.T) {
	warned := ""
	r := &Runtime{Root: t.TempDir(), Warn: func(text string) { warned = text }}
	classed(t, r, `{}`)
	err := r.Update(&UpdateOptions{ID: "c", Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{KernelTCP: new(int64(5))}}})
	if err != nil || warned != "Kernel memory settings are ignored and will be removed" {
		t.Errorf("%v, warning %q", err, warned)
	}
}
