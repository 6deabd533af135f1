package disk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// The databases, below the root.
const (
	metadata  = "io.containerd.metadata.v1.bolt/meta.db"
	snapshots = "io.containerd.snapshotter.v1.overlayfs/metadata.db"
)

const page = 4096

// everySecond overwrites every second page from the third on, which is the first behind the two that say where the others are.
func everySecond(b []byte) []byte {
	for at := 2 * page; at+page <= len(b); at += 2 * page {
		copy(b[at:], random("garbage", page))
	}
	return b
}

// TestDamagedDatabase damages a database while the manager is stopped and a container runs. The next start says so, keeps the
// damaged file and all that can be kept; the container runs on; and when all is removed, so is what was kept.
func TestDamagedDatabase(t *testing.T) {
	for _, test := range []struct {
		name, database string
		damage         func([]byte) []byte
		noCopy         bool // there is no copy of an earlier start
	}{
		{name: "metadata has pages of garbage", database: metadata, damage: everySecond},
		{name: "metadata is cut", database: metadata, damage: func(b []byte) []byte { return b[:5*page] }},
		{name: "metadata is empty", database: metadata, damage: func([]byte) []byte { return nil }},
		{name: "metadata is garbage, no copy", database: metadata, damage: func(b []byte) []byte { return random("garbage", len(b)) }, noCopy: true},
		{name: "snapshots have pages of garbage", database: snapshots, damage: everySecond},
		{name: "snapshots are cut to a page", database: snapshots, damage: func(b []byte) []byte { return b[:page] }},
		{name: "snapshots are garbage", database: snapshots, damage: func(b []byte) []byte { return random("garbage", len(b)) }},
		{name: "snapshots are zero, no copy", database: snapshots, damage: func(b []byte) []byte { return bytes.Repeat([]byte{0}, len(b)) }, noCopy: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.run("steady", "sleep 1000")
			w.Stop()
			w.Start() // which makes copies of the databases
			w.Stop()
			path := w.path("root/" + test.database)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if test.noCopy {
				remove(t, path+".last-good")
			}
			if err := os.WriteFile(path, test.damage(content), 0o600); err != nil {
				t.Fatal(err)
			}
			before := len(w.Log())
			w.Start()
			if said := w.Log()[before:]; !strings.Contains(said, "database was damaged and has been rewritten") {
				t.Errorf("nothing is said of it: %s", said)
			}
			if kept, err := filepath.Glob(path + ".damaged-*"); err != nil || len(kept) != 1 {
				t.Errorf("damaged files %v, %v; want one", kept, err)
			}
			if rescued := strings.Contains(w.Ctr("leases", "ls", "-q"), "gantry-rescued"); rescued != (test.database == metadata) {
				t.Errorf("there is a lease on what was rescued: %v", rescued)
			}
			w.afterRepair(test.database == metadata && test.noCopy)
		})
	}
}

// afterRepair uses what there is, and removes it; withoutRecords: the database of images and containers was lost.
func (w *world) afterRepair(withoutRecords bool) {
	w.t.Helper()
	if withoutRecords {
		w.Ctr("images", "import", w.path("busybox.tar"))
	} else {
		w.goesOn()
	}
	if check := w.Ctr("images", "check"); !strings.Contains(check, compat.ImageName) || !strings.Contains(check, " complete ") {
		w.t.Errorf("the image is not complete: %s", check)
	}
	w.works("another")
	w.removeTask("steady")
	if withoutRecords {
		w.Ctr("snapshots", "rm", "steady")
	} else {
		w.Ctr("containers", "rm", "steady")
	}
	_, _ = w.Try("leases", "rm", "gantry-rescued")
	_, _ = w.Try("-n", "default", "leases", "rm", "gantry-rescued") // blobs whose namespace was lost are there
	w.collect()
	var dirs, blobs []os.DirEntry
	if !harness.Until(10*time.Second, func() bool {
		dirs, _ = os.ReadDir(w.path("root/io.containerd.snapshotter.v1.overlayfs/snapshots"))
		blobs, _ = os.ReadDir(w.path("root/io.containerd.content.v1.content/blobs/sha256"))
		return len(dirs) == 1 && len(blobs) == 3
	}) {
		w.t.Errorf("%d snapshots and %d blobs are left; want those of the image: 1 and 3", len(dirs), len(blobs))
	}
	w.works("again")
}

// removeTask does it without the container's record, which ctr wants.
func (w *world) removeTask(id string) {
	w.t.Helper()
	c, ctx := w.api()
	if _, err := c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(unix.SIGKILL)}); err != nil {
		w.t.Errorf("kill %s: %v", id, err)
	}
	w.gone(id)
	if exit, err := c.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id}); err != nil || exit.ExitStatus != 137 {
		w.t.Errorf("delete %s: %v, %v", id, exit, err)
	}
}
