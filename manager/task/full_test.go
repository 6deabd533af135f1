package task

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestFullLedger: on a full state directory what there is can be written over, longer and shorter; new tasks are refused.
func TestFullLedger(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	l, k := &ledger{dir: filepath.Join(dir, "ledger")}, key{"default", "a"}
	short, long := record{Stage: alive, Pid: 1}, record{Stage: deleted, Stdin: strings.Repeat("x", 300), Exit: &exit{Pid: 1, Status: 7, At: time.Unix(1, 0).UTC()}}
	if err := l.write(k, short); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "others"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("there is space for a megabyte")
	}
	for _, want := range []record{long, short, long} {
		if err := l.write(k, want); err != nil {
			t.Fatal(err)
		}
		got, err := l.read()
		if diff := cmp.Diff(map[key]record{k: want}, got, cmp.AllowUnexported(key{})); diff != "" || err != nil {
			t.Errorf("%v, (-want +got):\n%s", err, diff)
		}
	}
	if err := full(l.write(key{"default", "b"}, short)); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a new task: %v; want resource exhausted", err)
	}
}
