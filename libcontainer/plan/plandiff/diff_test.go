package plandiff

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// side is a plan of operations of the child.
func side(bundle string, ops ...plan.Op) Side {
	for i := range ops {
		ops[i].Actor = plan.Child
	}
	return Side{Plan: &plan.Plan{Ops: ops}, Bundle: bundle}
}

func op(field string, do plan.Action) plan.Op { return plan.Op{Field: field, Do: do} }

func tmpfs(index int, destination string, set plan.MountFlag) *plan.Mount {
	return &plan.Mount{Index: index, Destination: destination, Type: "tmpfs", Flags: plan.MountFlags{Set: set}}
}

func mask(path string) plan.Op { return op("linux.maskedPaths[0]", &plan.MaskPath{Path: path}) }

func text(t *testing.T, changes []Change) string {
	t.Helper()
	var b strings.Builder
	if err := WriteText(&b, changes); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompare(t *testing.T) {
	env := func(vars ...string) plan.Op {
		return op("process.args", &plan.Execute{Args: []string{"sh"}, Env: vars})
	}
	name := func(s string) plan.Op { return op("hostname", &plan.SetHostname{Name: s}) }
	find := func(s string) plan.Op { return op("process.args[0]", &plan.FindProgram{Name: s, Path: "/bin"}) }
	for title, c := range map[string]struct {
		old, new Side
		want     string
	}{
		"nothing": {side("/a", name("x"), env("A=1")), side("/b", name("x"), env("A=1")), ""},
		"only the bundle's path": {
			side("/a", op("root", &plan.MakeRoot{Rootfs: "/a/rootfs"})), side("/b", op("root", &plan.MakeRoot{Rootfs: "/b/rootfs"})), "",
		},
		"a rootfs elsewhere": {
			side("/a", op("root", &plan.MakeRoot{Rootfs: "/a/rootfs"})), side("/b", op("root", &plan.MakeRoot{Rootfs: "/rootfs"})),
			`~   1   1  child    bind rootfs /rootfs onto itself  [root]
             Rootfs: "$BUNDLE/rootfs" → "/rootfs"
`,
		},
		"added and removed": {
			side("", mask("/a"), mask("/b")), side("", mask("/b"), mask("/c")),
			`-   1      child    mask /a  [linux.maskedPaths[0]]
+       2  child    mask /c  [linux.maskedPaths[0]]
`,
		},
		"a mount in front of others changes none of those": {
			side("", op("mounts[0]", tmpfs(0, "/a", 0))),
			side("", op("mounts[0]", tmpfs(0, "/b", 0)), op("mounts[1]", tmpfs(1, "/a", 0))),
			"+       1  child    mount tmpfs on /b  [mounts[0]]\n",
		},
		"moved": {
			side("", name("x"), mask("/a"), mask("/b")), side("", mask("/a"), mask("/b"), name("x")),
			">   1   3  child    set hostname x  [hostname]\n",
		},
		"changed": {
			side("", name("x")), side("", name("y")),
			`~   1   1  child    set hostname y  [hostname]
             Name: "x" → "y"
`,
		},
		"changed, by what it is about, and elsewhere": {
			side("", op("mounts[0]", tmpfs(0, "/a", 0)), op("mounts[1]", tmpfs(1, "/b", 0))),
			side("", op("mounts[0]", tmpfs(0, "/c", 0)), op("mounts[1]", tmpfs(1, "/b", 0)), op("mounts[2]", tmpfs(2, "/a", 1))),
			`+       1  child    mount tmpfs on /c  [mounts[0]]
~   1   3  child    mount tmpfs on /a (ro)  [mounts[2]]
             Flags: + "ro"
`,
		},
		"changed, there being only one": {
			side("", find("a")), side("", find("b")),
			`~   1   1  child    find program b  [process.args[0]]
             Name: "a" → "b"
`,
		},
		"elements of lists": {
			side("", env("A=1", "B=2", "C=3")), side("", env("A=1", "B=3", "D=4", "C=3")),
			`~   1   1  child    execute sh  [process.args]
             Env: - "B=2"
             Env: + "B=3"
             Env: + "D=4"
`,
		},
		"the order of a list": {
			side("", env("A=1", "B=2")), side("", env("B=2", "A=1")),
			`~   1   1  child    execute sh  [process.args]
             Env: ["A=1","B=2"] → ["B=2","A=1"]
`,
		},
		"what no text shows": {
			side("", op("linux.seccomp", &plan.InstallSeccomp{Instructions: []byte{1}})),
			side("", op("linux.seccomp", &plan.InstallSeccomp{Instructions: []byte{2}})),
			`~   1   1  child    load the seccomp filter  [linux.seccomp]
             Instructions: "1 bytes, checksum af63bc4c8601b62c" → "1 bytes, checksum af63bf4c8601bb45"
`,
		},
	} {
		t.Run(title, func(t *testing.T) {
			if diff := cmp.Diff(c.want, text(t, Compare(c.old, c.new))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsStayHiddenAndTheirChangeIsSeen(t *testing.T) {
	execute := func(vars ...string) Side {
		return side("", op("process.args", &plan.Execute{Args: []string{"A=public"}, Env: vars}))
	}
	for title, c := range map[string]struct {
		old, new Side
		want     []string
	}{
		"another value": {execute("TOKEN=secret1"), execute("TOKEN=secret2"), []string{`Env: - "TOKEN=***"`, `Env: + "TOKEN=***"`}},
		"another order": {execute("A=secret1", "B=secret2"), execute("B=secret2", "A=secret1"), []string{`Env: ["A=***","B=***"] → ["B=***","A=***"]`}},
	} {
		t.Run(title, func(t *testing.T) {
			changes := Compare(c.old, c.new)
			Redact(changes)
			got := text(t, changes)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %s in:\n%s", want, got)
				}
			}
			var b strings.Builder
			if err := WriteJSON(&b, changes); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got+b.String(), "secret") {
				t.Errorf("a secret is shown:\n%s%s", got, b.String())
			}
		})
	}
}

func TestWriteJSON(t *testing.T) {
	var b strings.Builder
	if err := WriteJSON(&b, Compare(side("", op("hostname", &plan.SetHostname{Name: "<x>"}), mask("/a")), side("", op("hostname", &plan.SetHostname{Name: "y"})))); err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`[
		{"change": "removed", "actor": "child", "op": "MaskPath", "old": {"step": 2, "field": "linux.maskedPaths[0]", "text": "mask /a"}},
		{"change": "changed", "actor": "child", "op": "SetHostname",
			"old": {"step": 1, "field": "hostname", "text": "set hostname <x>"},
			"new": {"step": 1, "field": "hostname", "text": "set hostname y"},
			"args": [{"name": "Name", "old": "<x>", "new": "y"}]}
	]`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.Reset()
	if err := WriteJSON(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("no change: %q, %v", b.String(), err)
	}
}
