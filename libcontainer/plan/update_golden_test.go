package plan_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// updateCase is one file of testdata/update: the limits that a container has (old.json), what
// changes (changes.json), what the kernel has (now.json), and what comes of it.
type updateCase struct {
	file    string
	archive *txtar.Archive
}

func (c *updateCase) member(t *testing.T, name string, to any) {
	t.Helper()
	for _, f := range c.archive.Files {
		if f.Name != name {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(f.Data))
		d.DisallowUnknownFields()
		if err := d.Decode(to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// text is the plan on both kinds of machines and the limits that the container has then.
func (c *updateCase) text(t *testing.T) string {
	t.Helper()
	var old, changes specs.LinuxResources
	c.member(t, "old.json", &old)
	c.member(t, "changes.json", &changes)
	before, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range []string{"v1", "v2"} {
		in := &plan.UpdateInput{
			Spec: &specs.Spec{Linux: &specs.Linux{Resources: &old}}, Changes: &changes, Facts: machine(t, name),
			Now: plan.Present{MemoryLimit: plan.NoLimit, Quota: -1, Period: 100000},
		}
		c.member(t, "now.json", &in.Now)
		b.WriteString(name + "\n")
		p, err := plan.Update(in)
		if err != nil {
			b.WriteString("error: " + strings.ReplaceAll(err.Error(), "\n", "\nerror: ") + "\n")
			continue
		}
		_ = p.WriteText(&b) // a Builder takes everything
	}
	merged, err := json.Marshal(plan.Merge(&old, &changes))
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(old); !bytes.Equal(before, after) {
		t.Errorf("the old limits were changed to %s", after)
	}
	return b.String() + "then\n" + string(merged) + "\n"
}

func TestUpdateGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/update/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := &updateCase{file, archive}
			got, last := c.text(t), len(archive.Files)-1
			if updating() {
				if archive.Files[last].Name != "want" {
					archive.Files, last = append(archive.Files, txtar.File{Name: "want"}), last+1
				}
				archive.Files[last].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[last].Data), got); diff != "" {
				t.Errorf("the plan changed; if it should, run again with -update (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUpdateNeedsTheController refuses by the field's name what the container has no cgroup for.
func TestUpdateNeedsTheController(t *testing.T) {
	facts := machine(t, "none")
	for field, changes := range map[string]*specs.LinuxResources{
		"linux.resources.memory.limit": {Memory: &specs.LinuxMemory{Limit: new(int64(1 << 20))}},
		"linux.resources.cpu.idle":     {CPU: &specs.LinuxCPU{Idle: new(int64(1))}},
		"linux.resources.pids.limit":   {Pids: &specs.LinuxPids{Limit: new(int64(1))}},
	} {
		_, err := plan.Update(&plan.UpdateInput{Spec: &specs.Spec{}, Changes: changes, Facts: facts})
		if err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestUpdateWithoutChangesDoesNothing: engines send the limits of the config along, and 0 for
// what they do not set.
func TestUpdateWithoutChangesDoesNothing(t *testing.T) {
	zeros := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64), Swap: new(int64), Reservation: new(int64)},
		CPU:    &specs.LinuxCPU{Shares: new(uint64), Quota: new(int64), Period: new(uint64), RealtimeRuntime: new(int64), RealtimePeriod: new(uint64)},
		Pids:   &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{Weight: new(uint16)}, Network: &specs.LinuxNetwork{ClassID: new(uint32)},
	}
	for _, name := range []string{"v1", "v2"} {
		p, err := plan.Update(&plan.UpdateInput{Spec: &specs.Spec{}, Changes: zeros, Facts: machine(t, name)})
		if err != nil || len(p.Ops) > 0 {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}
