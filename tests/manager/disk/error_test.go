package disk_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// thin is an ext4 in a file that a tmpfs has no room for: when that is full, writing fails with EIO, as on a disk that is
// broken, or on a thin volume whose pool has run out.
type thin struct {
	block
	pool string
}

func (d *thin) ext4(dir string) {
	d.pool = d.t.TempDir()
	if err := unix.Mount("tmpfs", d.pool, "tmpfs", 0, "size=24m"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := unix.Unmount(d.pool, 0); err != nil {
			d.t.Error(err)
		}
	})
	d.format(d.pool, dir)
}

// broken is what is said of such a disk: the loop device hands on why, once, and then ext4 is read-only.
var broken = regexp.MustCompile(`input/output error|read-only file system|no space left on device`)

// TestDiskErrors breaks the disk below the manager while a container runs, and mends it again. What fails says so, the manager
// lives and answers what it knows, the task goes on; and on the disk that is whole again everything works without a repair.
func TestDiskErrors(t *testing.T) {
	harness.NeedRoot(t)
	needExt4(t)
	t.Parallel()
	d := &thin{block: block{t: t}}
	w := start(t, d.ext4)
	w.run("steady", "sleep 1000")
	command(t, "sync", "-f", d.at)
	ballast := leave(t, d.pool, 512<<10)

	for range 3 {
		if _, err := w.Try("images", "import", image(t, t.TempDir(), bigName, bigSize)); err == nil || !broken.MatchString(err.Error()) {
			t.Errorf("import: %v; want it to say that the disk is broken", err)
		}
	}
	w.goesOn()
	if list := w.Ctr("images", "ls", "-q"); !strings.Contains(list, compat.ImageName) {
		t.Errorf("images: %q", list)
	}
	w.Ctr("tasks", "kill", "-s", "KILL", "steady")
	w.gone("steady")
	for _, args := range [][]string{{"tasks", "rm", "steady"}, {"containers", "rm", "steady"}, {"images", "label", compat.ImageName, "a=b"}} {
		if _, err := w.Try(args...); err != nil && !broken.MatchString(err.Error()) && !strings.Contains(err.Error(), "exit status 137:") {
			t.Errorf("%v: %v", args, err)
		}
	}
	w.Kill()

	remove(t, ballast)
	d.unmount()
	_ = exec.Command("e2fsck", "-p", d.file).Run() // it says by its code that it mended something
	d.mount(d.file)
	w.Start()
	if damaged, err := filepath.Glob(w.path("root/*/*.damaged-*")); err != nil || len(damaged) > 0 {
		t.Errorf("repairs: %v, %v", damaged, err)
	}
	if task, err := w.Task("steady"); err != nil || task.Status != "" {
		w.endsWith("steady", 137) // what the disk had kept from being deleted
	} else {
		_, _ = w.Try("containers", "rm", "steady") // it may have gone, too
	}
	w.works("another")
	w.Ctr("images", "import", image(t, t.TempDir(), bigName, bigSize))
}
