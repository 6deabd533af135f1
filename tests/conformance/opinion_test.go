package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/generate"
	"github.com/opencontainers/runtime-tools/validate"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestSpecPassesRuntimeTools has runtime-tools' validator look at what `runc spec` writes.
// Its JSON schema check is left out: it fetches the schema from the network.
func TestSpecPassesRuntimeTools(t *testing.T) {
	for _, args := range [][]string{{"spec"}, {"spec", "--rootless"}} {
		bundle := t.TempDir()
		if err := os.Mkdir(filepath.Join(bundle, "rootfs"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(harness.Runtime(t), append(args, "--bundle", bundle)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		spec := readSpec(t, bundle)
		v, err := validate.NewValidator(spec, bundle, false, "linux")
		if err != nil {
			t.Fatal(err)
		}
		for name, check := range map[string]func() error{
			"mandatory fields": v.CheckMandatoryFields, "semver": v.CheckSemVer, "root": v.CheckRoot,
			"mounts": v.CheckMounts, "process": v.CheckProcess, "linux": v.CheckLinux, "hooks": v.CheckHooks,
		} {
			// No findings come back as an error with an empty list.
			if err := check(); err != nil && !strings.HasPrefix(err.Error(), "0 errors") {
				t.Errorf("%v: %s: %v", args, name, err)
			}
		}
	}
}

// TestPlanAcceptsGeneratedConfig gives `runc plan` what runtime-tools' generator, the base
// of many callers, makes.
func TestPlanAcceptsGeneratedConfig(t *testing.T) {
	g, err := generate.New("linux")
	if err != nil {
		t.Fatal(err)
	}
	g.SetProcessArgs([]string{"/bin/true"})
	g.AddLinuxMaskedPaths("/proc/kcore")
	g.SetLinuxResourcesPidsLimit(100)
	bundle := t.TempDir()
	if err := os.Mkdir(filepath.Join(bundle, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := g.SaveToFile(filepath.Join(bundle, "config.json"), generate.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(harness.Runtime(t), "plan", "--bundle", bundle).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func readSpec(t *testing.T, bundle string) *specs.Spec {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(b, spec); err != nil {
		t.Fatal(err)
	}
	return spec
}
