package events

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/tests/harness"
)

// leave makes the bundle of a shim that was killed with the events undelivered.
func leave(t *testing.T, names ...string) string {
	t.Helper()
	bundle := t.TempDir()
	l := open(t, newDaemon(t).publisher(), bundle)
	appendAll(t, l, names...)
	kill(l)
	return bundle
}

func undelivered(t *testing.T, bundle string) []string {
	t.Helper()
	left, err := readUndelivered(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return names(t, left)
}

func TestWhatAKilledShimLeftComesFirst(t *testing.T) {
	bundle := leave(t, "a", "b")
	if diff := cmp.Diff([]string{"a", "b"}, undelivered(t, bundle)); diff != "" {
		t.Error(diff)
	}
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	l := open(t, p, bundle)
	appendAll(t, l, "c")
	drain(t, p)
	if diff := cmp.Diff([]string{"a", "b", "c"}, d.names()); diff != "" {
		t.Error(diff)
	}
	kill(l)
	if left := undelivered(t, bundle); left != nil {
		t.Errorf("%v are delivered, and here once more", left)
	}
}

func TestHalfDeliveredAndKilled(t *testing.T) {
	d := newDaemon(t)
	d.answer = func(*types.Envelope) error {
		if len(d.got) == 2 {
			return errors.New("not now")
		}
		return nil
	}
	d.start()
	bundle := t.TempDir()
	p := d.publisher()
	l := open(t, p, bundle)
	appendAll(t, l, "a", "b", "c", "d")
	if !harness.Until(10*time.Second, func() bool { return len(d.names()) == 2 }) {
		t.Fatal("nothing is delivered")
	}
	// The mark of the second may be a moment behind.
	marked := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return l.pending == 2
	}
	if !harness.Until(10*time.Second, marked) {
		t.Error("what is taken is not marked")
	}
	kill(l)
	if diff := cmp.Diff([]string{"c", "d"}, undelivered(t, bundle)); diff != "" {
		t.Error(diff)
	}
}

// A write that was cut short by a kill leaves the records before it as they are, and is overwritten.
func TestTornTail(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(leave(t, "a", "b", "c"), FileName))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(filepath.Join(leave(t, "a", "b"), FileName))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	long := bytes.Clone(whole)
	copy(long[len(two)+8:], "\xff\xff\xff\xff")
	cases := map[string][]byte{"another byte": flipped, "a huge length": long}
	for _, cut := range []int{1, 10, len(whole) - len(two) - 1, len(whole) - len(two)} {
		cases[string(rune('0'+cut))+" bytes less"] = whole[:len(whole)-cut]
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			if err := os.WriteFile(filepath.Join(bundle, FileName), content, 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a", "b"}, undelivered(t, bundle)); diff != "" {
				t.Error(diff)
			}
			l := open(t, newDaemon(t).publisher(), bundle)
			appendAll(t, l, "d")
			kill(l)
			if diff := cmp.Diff([]string{"a", "b", "d"}, undelivered(t, bundle)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFilesThatAreNoLog(t *testing.T) {
	for content, fails := range map[string]bool{"": false, "gantry": false, "something else in the file": true} {
		bundle := t.TempDir()
		if err := os.WriteFile(filepath.Join(bundle, FileName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if left, err := readUndelivered(bundle); (err != nil) != fails || left != nil {
			t.Errorf("%q: got %v, %v", content, left, err)
		}
		l, err := newDaemon(t).publisher().Open(bundle)
		if (err != nil) != fails {
			t.Errorf("%q: got %v", content, err)
		}
		if err == nil {
			appendAll(t, l, "a")
			kill(l)
			if diff := cmp.Diff([]string{"a"}, undelivered(t, bundle)); diff != "" {
				t.Errorf("%q: %s", content, diff)
			}
		}
	}
	if left, err := readUndelivered(t.TempDir()); left != nil || err != nil {
		t.Errorf("no log: got %v, %v", left, err)
	}
	if _, err := newDaemon(t).publisher().Open("/nonexistent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no bundle: got %v", err)
	}
}

func TestADeliveredLogIsSmall(t *testing.T) {
	d := newDaemon(t)
	p := d.publisher()
	bundle := t.TempDir()
	l := open(t, p, bundle)
	size := func() int64 {
		st, err := os.Stat(filepath.Join(bundle, FileName))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	appendAll(t, l, numbered(10_000)...)
	if n := size(); n < 100_000 {
		t.Errorf("10000 undelivered events in %d bytes", n)
	}
	d.start()
	drain(t, p)
	if n := size(); n > keptSize {
		t.Errorf("%d bytes are kept", n)
	}
	for range 1000 {
		appendAll(t, l, "x")
		drain(t, p)
		if n := size(); n > keptSize+200 {
			t.Fatalf("%d bytes are kept", n)
		}
	}
	appendAll(t, l, "last")
	drain(t, p)
	kill(l)
	if got := d.names(); len(got) != 11_001 || got[11_000] != "last" {
		t.Errorf("%d events arrived", len(got))
	}
	if left := undelivered(t, bundle); left != nil {
		t.Errorf("%v are left", left)
	}
}

func TestALogHasOneOwner(t *testing.T) {
	bundle := t.TempDir()
	p := newDaemon(t).publisher()
	l := open(t, p, bundle)
	if _, err := readUndelivered(bundle); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if _, err := p.Open(bundle); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	kill(l)
	if left, err := readUndelivered(bundle); left != nil || err != nil {
		t.Errorf("got %v, %v", left, err)
	}
}

// The delete action: it sends what the dead shim left, but for the exit of init, which the daemon makes of its answer.
func TestAdoptPassesOverWhatIsNotKept(t *testing.T) {
	bundle := leave(t, "exec", "init", "late")
	file, err := os.OpenFile(filepath.Join(bundle, FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(bundle); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	l, err := p.Adopt(file, func(e *types.Envelope) bool { return names(t, []*types.Envelope{e})[0] != "init" })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	drain(t, p)
	if diff := cmp.Diff([]string{"exec", "late"}, d.names()); diff != "" {
		t.Error(diff)
	}
}

// Where the disk is full the events are in memory, and in their place among those on disk.
func TestAFullDisk(t *testing.T) {
	harness.NeedRoot(t)
	bundle := t.TempDir()
	if err := unix.Mount("tmpfs", bundle, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(bundle, unix.MNT_DETACH) }) //nolint:errcheck // of the test's own mount
	d := newDaemon(t)
	p := d.publisher()
	l := open(t, p, bundle)
	want := numbered(3000)
	appendAll(t, l, want[:1000]...)
	if len(l.held) == 0 {
		t.Fatal("the disk is not full")
	}
	if err := unix.Mount("", bundle, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	held := len(l.held)
	appendAll(t, l, want[1000:2000]...)
	if len(l.held) != held {
		t.Errorf("%d events more are in memory, though the disk has room again", len(l.held)-held)
	}
	d.start()
	appendAll(t, l, want[2000:]...)
	drain(t, p)
	if diff := cmp.Diff(want, d.names()); diff != "" {
		t.Error(diff)
	}
	if len(l.held) != 0 {
		t.Errorf("%d events are in memory", len(l.held))
	}
}

// readUndelivered reads what a shim that died left undelivered in its bundle. A bundle without a log has nothing of it.
// Where the shim lives the error is ErrInUse.
func readUndelivered(bundle string) ([]*types.Envelope, error) {
	file, err := os.OpenFile(filepath.Join(bundle, FileName), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := lock(file, unix.LOCK_SH); err != nil {
		return nil, err
	}
	s := &spool{file: file}
	if found, err := s.readHeader(); err != nil || !found {
		return nil, err
	}
	var left []*types.Envelope
	var decodeErr error
	err = s.scan(func(r record) {
		e := &types.Envelope{}
		decodeErr = errors.Join(decodeErr, e.UnmarshalVT(r.body))
		left = append(left, e)
	})
	if err = errors.Join(err, decodeErr); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return left, nil
}
