package validate

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// root is a machine with all capabilities of Linux 6.18, seen by root.
var root = host.Facts{LastCap: 40}

// load decodes a config of testdata; a member that the spec does not know is a mistake in it.
func load(tb testing.TB, name string) *specs.Spec {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	spec := new(specs.Spec)
	if err := d.Decode(spec); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return spec
}

func texts(problems []Problem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.String())
	}
	return list
}

func TestRealConfigsHaveNoProblems(t *testing.T) {
	rootless := root
	rootless.UID, rootless.GID = 1000, 1000
	for _, test := range []struct {
		file     string
		facts    host.Facts
		warnings []string
	}{
		{"full.json", root, []string{
			"linux.resources.memory.kernel: has no effect on kernels that have given up kernel memory limits",
			"linux.resources.memory.kernelTCP: has no effect on kernels that have given up kernel memory limits",
		}},
		{"runc-spec.json", root, []string{"process.capabilities.ambient: can't raise ambient capability " +
			"CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE: not both permitted and inheritable"}},
		{"containerd.json", root, nil},
		{"dockerd.json", root, nil},
		{"podman-rootless.json", rootless, nil},
	} {
		t.Run(test.file, func(t *testing.T) {
			spec := load(t, test.file)
			if got := Spec(spec, &test.facts); len(got) > 0 {
				t.Errorf("problems: %q", texts(got))
			}
			if diff := cmp.Diff(test.warnings, texts(Warnings(spec, &test.facts))); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if got := Process(spec.Process, "process", &test.facts); len(got) > 0 {
				t.Errorf("problems of the process alone: %q", texts(got))
			}
		})
	}
}

func FuzzSpec(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint32(0))
		f.Add(data, uint32(1000))
	}
	f.Fuzz(func(t *testing.T, data []byte, uid uint32) {
		spec := new(specs.Spec)
		if json.Unmarshal(data, spec) != nil {
			return
		}
		facts := &host.Facts{UID: uid, LastCap: 40}
		for _, p := range append(Spec(spec, facts), Warnings(spec, facts)...) {
			if p.Path == "" || p.Rule == "" || p.Ref == "" {
				t.Errorf("problem without path, rule or reference: %+v", p)
			}
		}
	})
}

func BenchmarkSpec(b *testing.B) {
	spec := load(b, "runc-spec.json")
	for b.Loop() {
		if len(Spec(spec, &root)) > 0 {
			b.Fatal("problems")
		}
		Warnings(spec, &root)
	}
}
