package bundle

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestWithResourcesKeepsWhatItWrites writes limits with every field into a config.json
// that has others, and reads them back.
func TestWithResourcesKeepsWhatItWrites(t *testing.T) {
	full, err := os.ReadFile("../validate/testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := Decode(full)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{
		`{"ociVersion":"1.3.0","unknown":[1]}`,
		`{"linux":{"resources":{"pids":{"limit":1}},"intelRdt":{"closID":"x"}},"unknown":[1]}`,
		`{"linux":null,"unknown":[1]}`,
	} {
		raw := WithIntelRdt(WithResources([]byte(doc), want.Linux.Resources), want.Linux.IntelRdt)
		got, _, err := Decode(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if diff := cmp.Diff(want.Linux.Resources, got.Linux.Resources); diff != "" {
			t.Errorf("%s: resources (-want +got):\n%s", doc, diff)
		}
		if diff := cmp.Diff(want.Linux.IntelRdt, got.Linux.IntelRdt); diff != "" {
			t.Errorf("%s: intelRdt (-want +got):\n%s", doc, diff)
		}
		if !bytes.Contains(raw, []byte(`"unknown":[1]`)) {
			t.Errorf("%s lost what nobody knows: %s", doc, raw)
		}
	}
	_ = WithResources(full, &specs.LinuxResources{})
	if again, _, err := Decode(full); err != nil || !cmp.Equal(want, again) {
		t.Error("the config.json given was changed")
	}
}
