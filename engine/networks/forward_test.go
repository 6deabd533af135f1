package networks

import (
	"os"
	"path/filepath"
	"testing"
)

func TestForwards(t *testing.T) {
	old := ipForward
	t.Cleanup(func() { ipForward = old })
	for content, want := range map[string]bool{"0\n": false, "1\n": true, "": false} {
		ipForward = filepath.Join(t.TempDir(), "ip_forward")
		if err := os.WriteFile(ipForward, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Forwards(); got != want {
			t.Errorf("%q: forwards is %t", content, got)
		}
	}
	ipForward = filepath.Join(t.TempDir(), "missing")
	if Forwards() {
		t.Error("forwards without a switch")
	}
}
