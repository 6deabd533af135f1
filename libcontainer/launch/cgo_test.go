package launch

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// TestProgramWithCgoIsRefused builds a program around the library with cgo and without: the
// first must say that it can't, for its children would be killed.
func TestProgramWithCgoIsRefused(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("cgo needs a C compiler")
	}
	for cgo, want := range map[string]string{"1": ErrCgo.Error() + "\n", "0": "--bundle: chdir /nonexistent: no such file or directory\n"} {
		cmd := exec.Command("go", "run", "./testdata/program")
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		if string(out) != want {
			t.Errorf("CGO_ENABLED=%s: %q, want %q", cgo, out, want)
		}
	}
}
