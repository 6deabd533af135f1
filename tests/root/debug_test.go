package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestDebugTellsEveryOperation: --debug logs the plan that is carried out, and no secret.
func TestDebugTellsEveryOperation(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("echo out", func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "TOKEN=secret") })
	for name, args := range map[string][]string{"text": {"--debug"}, "JSON": {"--debug", "--log-format", "json"}} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			r := e.Run(append(args, "--log", log, "run", "--bundle", bundle, e.ID(name))...)
			equal(t, "stdout", "out\n", r.Stdout)
			equal(t, "stderr", "", r.Stderr)
			b, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			for _, want := range []string{"debug", "pivot", "[root", "[process.args]"} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in the log:\n%s", want, text)
				}
			}
			if strings.Contains(text, "secret") {
				t.Errorf("the log has a secret:\n%s", text)
			}
		})
	}
}
