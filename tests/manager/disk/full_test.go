package disk_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

const (
	megabyte = 1 << 20
	bigName  = "docker.io/library/big:1"
	bigSize  = 6 * megabyte
)

// TestFullDiskImport imports an image that does not fit, by the client and by the manager. It fails with words, tasks go
// on, and one prune gives all space back.
func TestFullDiskImport(t *testing.T) {
	for _, test := range []struct {
		name string
		left int64 // bytes, when the import begins
		flag string
	}{
		{name: "content by the manager", left: bigSize / 2},
		{name: "content by the client", left: bigSize / 2, flag: "--local"},
		{name: "unpack by the manager", left: bigSize + bigSize/2},
		{name: "unpack by the client", left: bigSize + bigSize/2, flag: "--local"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, small(t, "root", 24*megabyte))
			w.run("steady", "sleep 1000")
			before := w.settled()
			ballast := leave(t, w.path("root"), test.left)
			args := []string{"images", "import"}
			if test.flag != "" {
				args = append(args, test.flag)
			}
			w.full(append(args, image(t, t.TempDir(), bigName, bigSize))...)
			w.goesOn()
			leave(t, w.path("root"), 0) // not a block is left, and nobody gives one back
			w.goesOn()
			if strings.Contains(w.Ctr("images", "ls", "-q"), bigName) {
				w.Ctr("images", "rm", "--sync", bigName) // prune wants all to be there that it has listed
			}
			w.Ctr("content", "prune", "references")
			remove(t, ballast)
			w.isAsBefore(before)
			w.stop("steady")
		})
	}
}

// goesOn wants a task, steady, to be as alive as it is on a disk with room.
func (w *world) goesOn() {
	w.t.Helper()
	const id = "steady"
	if task, err := w.Task(id); err != nil || task.Status != "RUNNING" {
		w.t.Errorf("%s is %v, %v", id, task.Status, err)
	}
	if out := w.Ctr("tasks", "exec", "--exec-id", "e", id, "echo", "alive"); out != "alive\n" {
		w.t.Errorf("exec in %s says %q", id, out)
	}
}

// settled collects garbage and returns what is in use then.
func (w *world) settled() int64 {
	w.t.Helper()
	w.Ctr("content", "prune", "references")
	bytes, _ := w.taken()
	return bytes
}

// isAsBefore wants all space back: now, after a restart, and that it can be used.
func (w *world) isAsBefore(before int64) {
	w.t.Helper()
	after, databases := w.taken()
	if after > before {
		w.t.Errorf("%d bytes are not given back", after-before)
	}
	w.t.Logf("%d bytes in use before, %d after; %d of the databases", before, after, databases)
	w.Kill()
	w.Start()
	if again, _ := w.taken(); again > before {
		w.t.Errorf("after a restart %d bytes are not given back", again-before)
	}
	w.works("another")
}

// TestFullDiskContainer has a container eat all room that there is, and whatever is given back, while clients work.
func TestFullDiskContainer(t *testing.T) {
	t.Parallel()
	w := start(t, small(t, "root", 24*megabyte))
	w.Ctr("images", "import", image(t, t.TempDir(), bigName, bigSize))
	w.Ctr("images", "rm", "--sync", bigName)
	before := w.settled()
	w.Ctr("images", "import", image(t, t.TempDir(), bigName, bigSize))
	w.run("steady", "sleep 1000")
	w.run("eater", "while :; do cat /dev/zero >>/eaten; sleep 0.02; done 2>/dev/null")
	w.untilFull()

	other := image(t, t.TempDir(), "docker.io/library/other:1", megabyte)
	w.full("images", "import", other)
	w.full("images", "import", "--local", other)
	w.goesOn()
	w.Ctr("images", "rm", "--sync", bigName) // prune wants all to be there that it has listed
	w.Ctr("content", "prune", "references")
	w.untilFull()
	w.goesOn()
	w.stop("steady")
	w.Kill()
	w.Start()
	w.stop("eater")
	w.Ctr("content", "prune", "references")
	w.isAsBefore(before)
}

// untilFull waits until not a block is left.
func (w *world) untilFull() {
	w.t.Helper()
	if !harness.Until(20*time.Second, func() bool { return room(w.t, w.path("root")) == 0 }) {
		w.t.Errorf("%d bytes are free", room(w.t, w.path("root")))
	}
}

// TestFullDiskRecords makes records until there is no room for one more, while an eater takes what is left; deletes them all; and
// can make them again.
func TestFullDiskRecords(t *testing.T) {
	t.Parallel()
	w := start(t, small(t, "root", 12*megabyte))
	before := w.settled()
	ballast := leave(t, w.path("root"), megabyte)
	c, ctx := w.api()
	busybox, err := c.GetImage(ctx, compat.ImageName)
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for err == nil && len(made) < 5000 {
		name := fmt.Sprintf("record-%d", len(made))
		if _, err = c.ImageService().Create(ctx, images.Image{Name: name, Target: busybox.Target(), Labels: map[string]string{"x": strings.Repeat("x", 4000)}}); err == nil {
			made = append(made, name)
		}
	}
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("after %d records: %v", len(made), err)
	}
	t.Logf("after %d records: %v", len(made), err)
	leave(t, w.path("root"), 0)
	for _, name := range made[:20] { // Pages that were freed on the way may do for some changes.
		if _, err := w.Try("images", "label", name, "y="+strings.Repeat("y", 4000)); err != nil {
			break
		}
	}
	w.full("images", "label", compat.ImageName, "y="+strings.Repeat("y", 4000))
	w.full("images", "tag", compat.ImageName, "one-more")
	w.full("run", "-d", compat.ImageName, "refused", "true")
	w.Kill()
	w.Start()
	w.full("images", "tag", compat.ImageName, "one-more")
	w.Ctr(append([]string{"images", "rm", "--sync"}, made...)...)
	w.Ctr("content", "prune", "references")
	if left := w.Ctr("images", "ls", "-q"); left != compat.ImageName+"\n" {
		t.Errorf("images are left: %s", left)
	}
	w.Ctr("images", "tag", compat.ImageName, "one-more") // within what the others had
	w.Ctr("images", "rm", "one-more")
	remove(t, ballast)
	w.isAsBefore(before)
}
