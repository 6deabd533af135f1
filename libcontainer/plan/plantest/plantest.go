// Package plantest reads the golden cases of package plan: one txtar file a case, of a
// machine, a config and the plan that is made of them. Package launch lowers the same
// plans in its tests.
package plantest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Case is one golden file. Its members are JSON merge patches (RFC 7396) over files of the
// same folder: config.json over base.json, facts.json over the machine that it names. An
// exec.json in place of input.json makes it the case of an exec'ed process.
type Case struct {
	Name  string
	Spec  *specs.Spec
	Facts *host.Facts
	Input *plan.Input     // nil for exec
	Exec  *plan.ExecInput // nil for create
	// Mounts changes those of a running container; nil but for runc mounts.
	Mounts *plan.MountsInput
	Remove bool // with Mounts
	// Patch is the change to base.json that the case is about.
	Patch []byte
	// Want is what Text should return.
	Want string

	file    string
	archive *txtar.Archive
}

// The members of a case.
const (
	configFile = "config.json"
	factsFile  = "facts.json"
	inputFile  = "input.json"
	execFile   = "exec.json"
	mountsFile = "mounts.json"
	wantFile   = "want.plan"
)

// Load reads every case of a folder.
func Load(tb testing.TB, dir string) []*Case {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no golden cases in %s: %v", dir, err)
	}
	cases := make([]*Case, len(files))
	for i, file := range files {
		if cases[i], err = load(file); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
	}
	return cases
}

func load(file string) (*Case, error) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return nil, err
	}
	c := &Case{Name: strings.TrimSuffix(filepath.Base(file), ".txtar"), file: file, archive: archive}
	members := map[string][]byte{configFile: []byte("{}"), factsFile: []byte("{}"), inputFile: []byte("{}")}
	for _, f := range archive.Files {
		members[f.Name] = f.Data
	}
	dir := filepath.Dir(file)
	if err := patched(filepath.Join(dir, "base.json"), members[configFile], &c.Spec); err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	machine := struct{ Machine string }{"v2"}
	if err := json.Unmarshal(members[factsFile], &machine); err != nil {
		return nil, fmt.Errorf("%s: %w", factsFile, err)
	}
	if err := patched(filepath.Join(dir, machine.Machine+".json"), members[factsFile], &c.Facts); err != nil {
		return nil, fmt.Errorf("%s: %w", factsFile, err)
	}
	c.Patch, c.Want = members[configFile], string(members[wantFile])
	return c, c.input(members)
}

// input fills in what does not come from the config or the machine.
func (c *Case) input(members map[string][]byte) error {
	if text, ok := members[execFile]; ok {
		c.Exec = &plan.ExecInput{Process: c.Spec.Process, Facts: c.Facts, ID: "box", Rootfs: "/bundle/rootfs"}
		if err := strict(text, c.Exec); err != nil {
			return fmt.Errorf("%s: %w", execFile, err)
		}
		return nil
	}
	if text, ok := members[mountsFile]; ok {
		in := struct {
			plan.MountsInput
			Remove bool
		}{MountsInput: plan.MountsInput{Config: c.Spec, Facts: c.Facts, Bundle: "/bundle", HasCgroups: true}}
		if err := strict(text, &in); err != nil {
			return fmt.Errorf("%s: %w", mountsFile, err)
		}
		c.Mounts, c.Remove = &in.MountsInput, in.Remove
		return nil
	}
	c.Input = &plan.Input{Spec: c.Spec, Facts: c.Facts, ID: "box", Bundle: "/bundle", Rootfs: "/bundle/rootfs"}
	if err := strict(members[inputFile], c.Input); err != nil {
		return fmt.Errorf("%s: %w", inputFile, err)
	}
	return nil
}

// Plan compiles the case.
func (c *Case) Plan() (*plan.Plan, error) {
	switch {
	case c.Exec != nil:
		return plan.Exec(c.Exec)
	case c.Remove:
		return plan.RemoveMounts(c.Mounts), nil
	case c.Mounts != nil:
		return plan.AddMounts(c.Mounts)
	}
	return plan.Create(c.Input)
}

// Text is the plan as `runc plan` prints it, or a line "error: …" for each problem.
func (c *Case) Text() string {
	p, err := c.Plan()
	if err != nil {
		return "error: " + strings.ReplaceAll(err.Error(), "\n", "\nerror: ") + "\n"
	}
	var b strings.Builder
	_ = p.WriteText(&b) // a Builder takes everything
	return b.String()
}

// Update rewrites the case with what Text returns.
func (c *Case) Update() error {
	files := c.archive.Files[:0]
	for _, f := range c.archive.Files {
		if f.Name != wantFile {
			files = append(files, f)
		}
	}
	c.archive.Files = append(files, txtar.File{Name: wantFile, Data: []byte(c.Text())})
	return os.WriteFile(c.file, txtar.Format(c.archive), 0o644)
}

// patched reads a JSON file, patches it and decodes it; members that the type doesn't
// have are mistakes, but for "machine".
func patched(file string, patch []byte, to any) error {
	base, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	doc, err := anyJSON(base)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	change, err := anyJSON(patch)
	if err != nil {
		return err
	}
	merged := merge(doc, change)
	if m, ok := merged.(map[string]any); ok {
		delete(m, "machine")
	}
	text, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	return strict(text, to)
}

// anyJSON decodes any document; numbers keep all their digits.
func anyJSON(text []byte) (doc any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&doc)
	return doc, err
}

func strict(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

// merge applies a JSON merge patch: objects merge, null deletes, all else replaces.
func merge(doc, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	merged, ok := doc.(map[string]any)
	if !ok {
		merged = make(map[string]any)
	}
	for key, value := range changes {
		if value == nil {
			delete(merged, key)
		} else {
			merged[key] = merge(merged[key], value)
		}
	}
	return merged
}
