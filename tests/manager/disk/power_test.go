package disk_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// block is an ext4 in a file, mounted at a manager's root: what its file has is what a disk has after a loss of power, for
// what nobody has synced is in the memory of the ext4 above it.
type block struct {
	t    *testing.T
	file string
	at   string
}

// ext4 makes one, and mounts it.
func (b *block) ext4(dir string) { b.format(b.t.TempDir(), dir) }

// format makes the file in a folder.
func (b *block) format(in, dir string) {
	b.file, b.at = filepath.Join(in, "disk"), filepath.Join(dir, "root")
	if err := os.WriteFile(b.file, nil, 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Truncate(b.file, 96*megabyte); err != nil {
		b.t.Fatal(err)
	}
	command(b.t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", b.file)
	if err := os.MkdirAll(b.at, 0o711); err != nil {
		b.t.Fatal(err)
	}
	b.mount(b.file)
	b.t.Cleanup(b.unmount)
}

// needExt4 skips a test on a machine that cannot make one.
func needExt4(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/dev/loop-control", "/usr/sbin/mkfs.ext4"} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("this machine has no %s", path)
		}
	}
}

func (b *block) mount(file string) { command(b.t, "mount", "-o", "loop", file, b.at) }

func (b *block) unmount() { command(b.t, "umount", b.at) }

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// copyTo copies the disk as it is at one moment: until two copies are alike.
func (b *block) copyTo(path string) {
	b.t.Helper()
	again := path + ".again"
	defer os.Remove(again)
	for range 20 {
		command(b.t, "cp", "--sparse=always", b.file, path)
		command(b.t, "cp", "--sparse=always", b.file, again)
		if alike(b.t, path, again) {
			return
		}
	}
	b.t.Fatal("the disk is never quiet")
}

func alike(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	other, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for x, y := make([]byte, megabyte), make([]byte, megabyte); ; {
		n, errX := io.ReadFull(one, x)
		m, errY := io.ReadFull(other, y)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false
		}
		if errX != nil || errY != nil {
			return true
		}
	}
}

// acknowledged is what clients were told to be done.
type acknowledged struct {
	mu      sync.Mutex
	label   int             // of the first image
	images  map[string]bool // there, or removed; without those that are being made or removed
	runs    int
	failure error
}

func (a *acknowledged) set(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

// moment is a disk that has lost its power, and what had been acknowledged before.
type moment struct {
	disk   string
	label  int
	images map[string]bool
}

// TestPowerLoss takes the disk away from under a manager at work, at many moments. What nobody had synced is gone, and the state
// directory with it. The next start needs no repair; what was acknowledged is there; images are complete and can be run;
// and when all is removed, its space is back. GANTRY_MOMENTS is how often.
func TestPowerLoss(t *testing.T) {
	harness.NeedRoot(t)
	needExt4(t)
	t.Parallel()
	number, err := strconv.Atoi(os.Getenv("GANTRY_MOMENTS"))
	if err != nil {
		number = 6
	}
	b := &block{t: t}
	w := start(t, b.ext4)
	w.Ctr("run", "--rm", compat.ImageName, "first", "true")
	w.collect()
	base, _ := w.taken()
	moments, told := w.lose(b, number)
	t.Logf("%d moments; acknowledged: %d labels, %d images, %d runs", len(moments), told.label, len(told.images), told.runs)
	w.Stop()
	for i, m := range moments {
		b.unmount()
		b.mount(m.disk)
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			now := &world{w.Client, t}
			now.boots()
			now.kept(m)
			now.empties(base)
		})
		w.Stop()
	}
	w.Start()
}

// lostSize is how many bytes the layers of the images have.
const lostSize = 100_000

// lose lets clients work, and takes the disk at moments meanwhile.
func (w *world) lose(b *block, number int) (moments []moment, told *acknowledged) {
	w.t.Helper()
	told = &acknowledged{images: map[string]bool{}}
	dir := w.t.TempDir()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, work := range []func(*acknowledged, string, int) error{w.labels, w.imports, w.commits, w.containers} {
		wg.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if err := work(told, dir, n); err != nil {
					told.set(func() { told.failure = err })
					return
				}
			}
		})
	}
	for i := range number {
		m := moment{disk: filepath.Join(dir, fmt.Sprint("disk-", i))}
		// A moment comes after some work, not after some time.
		told.set(func() { m.label = told.label })
		if !harness.Until(20*time.Second, func() (on bool) {
			told.set(func() { on = told.label > m.label+2+i%3 || told.failure != nil })
			return on
		}) {
			w.t.Error("clients do not get on")
		}
		w.signal(unix.SIGSTOP)
		told.set(func() { m.label, m.images = told.label, maps.Clone(told.images) })
		b.copyTo(m.disk)
		w.signal(unix.SIGCONT)
		moments = append(moments, m)
	}
	close(done)
	wg.Wait()
	if told.failure != nil {
		w.t.Error(told.failure)
	}
	return moments, told
}

func (w *world) signal(s unix.Signal) {
	w.t.Helper()
	if err := unix.Kill(w.PID(), s); err != nil {
		w.t.Error(err)
	}
}

func (w *world) labels(told *acknowledged, _ string, n int) error {
	_, err := w.Try("images", "label", compat.ImageName, fmt.Sprint("number=", n))
	told.set(func() { told.label = n })
	return err
}

// imports imports images, and removes one of two.
func (w *world) imports(told *acknowledged, dir string, n int) error {
	name := fmt.Sprintf("docker.io/library/lost-%d:1", n)
	if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(n)), 0o700); err != nil {
		return err
	}
	file := image(w.t, filepath.Join(dir, fmt.Sprint(n)), name, lostSize)
	if _, err := w.Try("images", "import", file); err != nil {
		return err
	}
	told.set(func() { told.images[name] = true })
	if n%2 == 0 {
		return nil
	}
	told.set(func() { delete(told.images, name) })
	_, err := w.Try("images", "rm", "--sync", name)
	told.set(func() { told.images[name] = false })
	return err
}

func (w *world) commits(_ *acknowledged, _ string, n int) error {
	active, committed := fmt.Sprint("active-", n), fmt.Sprint("committed-", n)
	if _, err := w.Try("snapshots", "prepare", active); err != nil {
		return err
	}
	_, err := w.Try("snapshots", "commit", committed, active)
	return err
}

func (w *world) containers(told *acknowledged, _ string, n int) error {
	id := fmt.Sprint("lost-", n)
	if _, err := w.Try("run", "-d", compat.ImageName, id, "sh", "-c", "head -c 50000 /dev/urandom >/file; sleep 1000"); err != nil {
		return err
	}
	_, _ = w.Try("tasks", "exec", "--exec-id", "e", id, "true")
	if _, err := w.Try("tasks", "rm", "-f", id); err != nil {
		return err
	}
	_, err := w.Try("containers", "rm", id)
	told.set(func() { told.runs++ })
	return err
}

// expected are the words for what is no damage: a change that was half done, and layers whose files nobody had synced.
var expected = []string{
	"the power was lost before these snapshots were on the disk", "a snapshot that may have lost files stays", "snapshots are gone from the disk",
}

// boots starts the manager as after a start of the machine.
func (w *world) boots() {
	w.t.Helper()
	state, err := os.ReadDir(w.path("state"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range state {
		if err := os.RemoveAll(filepath.Join(w.path("state"), d.Name())); err != nil {
			w.t.Fatal(err)
		}
	}
	marks, err := filepath.Glob(w.path("root/io.containerd.snapshotter.v1.*/unsynced"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, mark := range marks {
		text, err := os.ReadFile(mark)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, since, ok := strings.Cut(string(text), " "); ok {
			if err := os.WriteFile(mark, []byte("another-boot "+since), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	before := len(w.Log())
	if err := w.Restart(); err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(w.Log()[before:]) {
		if strings.Contains(line, "level=error") && !slices.ContainsFunc(expected, func(words string) bool { return strings.Contains(line, words) }) {
			w.t.Errorf("it says: %s", line)
		}
	}
	damaged, err := filepath.Glob(w.path("root/*/*.damaged-*"))
	if err != nil || len(damaged) > 0 {
		w.t.Errorf("repairs that were not needed: %v, %v", damaged, err)
	}
}

// kept wants what was acknowledged, and all of it in order.
func (w *world) kept(m moment) {
	w.t.Helper()
	list := w.Ctr("images", "ls")
	for name, there := range m.images {
		if strings.Contains(list, name+" ") != there {
			w.t.Errorf("%s is there: %v; want %v", name, !there, there)
		} else if there {
			w.whole(name)
		}
	}
	_, after, _ := strings.Cut(list, "number=")
	label, err := strconv.Atoi(strings.FieldsFunc(after+" ", func(r rune) bool { return r < '0' || r > '9' })[0])
	if err != nil || label < m.label {
		w.t.Errorf("label %d, %v; want at least %d", label, err, m.label)
	}
	for line := range strings.Lines(w.Ctr("images", "check")) {
		if !strings.HasPrefix(line, "REF") && !strings.Contains(line, " complete ") {
			w.t.Errorf("not complete: %s", line)
		}
	}
	if tasks, err := w.Tasks(); err != nil || len(tasks) > 0 {
		w.t.Errorf("tasks %v, %v", tasks, err)
	}
	w.works("after")
}

// whole wants the layer of an image to have its file.
func (w *world) whole(name string) {
	w.t.Helper()
	at := w.t.TempDir()
	w.Ctr("images", "mount", name, at)
	got, err := os.ReadFile(filepath.Join(at, "big"))
	if err != nil || !bytes.Equal(got, random(name, lostSize)) {
		w.t.Errorf("%s: its layer has a file of %d bytes, %v, which is not what it was", name, len(got), err)
	}
	w.Ctr("images", "unmount", "--rm", at)
}

// collect collects garbage, and leaves images their layers.
func (w *world) collect() {
	w.t.Helper()
	w.Ctr("images", "tag", compat.ImageName, "collect")
	w.Ctr("images", "rm", "--sync", "collect")
}

// empties removes all that clients have made, and wants their space back.
func (w *world) empties(base int64) {
	w.t.Helper()
	for id := range strings.FieldsSeq(w.Ctr("containers", "ls", "-q")) {
		w.Ctr("containers", "rm", id)
	}
	for name := range strings.FieldsSeq(w.Ctr("images", "ls", "-q")) {
		if name != compat.ImageName {
			w.Ctr("images", "rm", name)
		}
	}
	for id := range strings.FieldsSeq(w.Ctr("leases", "ls", "-q")) {
		_, _ = w.Try("leases", "rm", id) // it may have just expired
	}
	for line := range strings.Lines(w.Ctr("snapshots", "ls")) {
		if key := strings.Fields(line)[0]; strings.HasPrefix(key, "active-") || strings.HasPrefix(key, "committed-") || strings.HasPrefix(key, "lost-") {
			_, _ = w.Try("snapshots", "rm", key) // it may have gone with its container or its lease
		}
	}
	w.works("again") // it may have to be unpacked: its layer went with a container, for its files may have been lost
	w.collect()
	const directories = 256 << 10 // grow, and never shrink
	left := int64(0)
	if !harness.Until(10*time.Second, func() bool { // what a start puts aside is removed in the background
		left, _ = w.taken()
		return left <= base+directories
	}) {
		w.t.Errorf("%d bytes are not given back", left-base)
	}
	dirs, err := os.ReadDir(w.path("root/io.containerd.snapshotter.v1.overlayfs/snapshots"))
	if err != nil || len(dirs) != 1 {
		w.t.Errorf("%d directories of snapshots, %v; want that of the image: %s", len(dirs), err, w.Ctr("snapshots", "ls"))
	}
}
