package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestAnotherConfigFileThanTheBundles(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("echo from elsewhere", nil)
	config := filepath.Join(t.TempDir(), "other.json")
	if err := os.Rename(filepath.Join(bundle, "config.json"), config); err != nil {
		t.Fatal(err)
	}
	if got := e.MustRun("run", "-b", bundle, "-f", config, e.ID("c")); strings.TrimSpace(got) != "from elsewhere" {
		t.Errorf("got %q", got)
	}
}
