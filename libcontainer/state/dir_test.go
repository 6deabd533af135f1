package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mustCreate(t *testing.T, root, id string) *Dir {
	t.Helper()
	d, err := Create(root, id)
	if err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func mustOpen(t *testing.T, root string) *Dir {
	t.Helper()
	d, err := Open(root, "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestCreateMakesRootAndRefusesASecondContainer(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a/b/c")
	d := mustCreate(t, root, "one")
	if d.Path() != root+"/one" || d.FD() < 0 {
		t.Errorf("path %q, fd %d", d.Path(), d.FD())
	}
	info, err := os.Stat(root)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("root: mode %v, error %v, want 0700", info.Mode(), err)
	}
	_, err = Create(root, "one")
	if !errors.Is(err, ErrExist) || !errors.Is(err, unix.EEXIST) {
		t.Errorf("second create: %v, want ErrExist and EEXIST", err)
	}
	if err.Error() != "container with given ID already exists" {
		t.Errorf("text %q is matched by clients", err)
	}
}

func TestOpenOfAnUnknownContainer(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("/etc", root+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, root, id string
		want           error
	}{
		{"no such container", root, "none", ErrNotExist},
		{"no such root", root + "/none", "c", ErrNotExist},
		{"an id that leaves the root", root, "..", ErrInvalidID},
		{"a symlink is not followed", root, "link", unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Open(c.root, c.id); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if text := ErrNotExist.Error(); text != "container does not exist" {
		t.Errorf("text %q is matched by clients", text)
	}
}

func TestLockExcludesAndIsWaitedForOnlySoLong(t *testing.T) {
	root := t.TempDir()
	first, second := mustCreate(t, root, "c"), mustOpen(t, root)
	for _, wait := range []time.Duration{0, 30 * time.Millisecond} {
		if err := second.Lock(wait); !errors.Is(err, ErrBusy) || !errors.Is(err, unix.EWOULDBLOCK) {
			t.Fatalf("lock of a locked container, wait %v: %v, want ErrBusy", wait, err)
		}
	}
	locked := make(chan error)
	go func() { locked <- second.Lock(time.Minute) }()
	select {
	case err := <-locked:
		t.Errorf("lock of a locked container: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-locked; err != nil {
		t.Errorf("lock once it is free: %v", err)
	}
}

func TestCloseDropsTheLockThoughAForkedChildHasACopy(t *testing.T) {
	root := t.TempDir()
	d := mustCreate(t, root, "c")
	copied, err := unix.Dup(d.FD()) // the same open file description, as after fork
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, root).Lock(0); err != nil {
		t.Errorf("lock after close: %v", err)
	}
}

func TestLockOfARemovedContainer(t *testing.T) {
	root := t.TempDir()
	for _, recreate := range []bool{false, true} {
		t.Run(fmt.Sprintf("created again: %v", recreate), func(t *testing.T) {
			// A creator that has made its directory and not locked it yet.
			made, err := makeDir(root, root+"/c", "c")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = made.Close() })
			other := mustOpen(t, root)
			if err := errors.Join(other.Lock(0), other.Remove(), other.Close()); err != nil {
				t.Fatal(err)
			}
			if recreate {
				mustCreate(t, root, "c")
			}
			if err := made.Lock(0); !errors.Is(err, ErrNotExist) {
				t.Errorf("lock: %v, want ErrNotExist", err)
			}
		})
	}
}

// removeIncomplete is what delete --force does to a container without state.
func removeIncomplete(root string) {
	d, err := Open(root, "c")
	if err != nil {
		return
	}
	if d.Lock(0) == nil {
		if _, err = d.Load(); errors.Is(err, ErrIncomplete) {
			_ = d.Remove()
		}
	}
	_ = d.Close()
}

func TestCreateWinsAgainstRemoversOfIncompleteContainers(t *testing.T) {
	root := t.TempDir()
	stop := make(chan struct{}, 1)
	var removers sync.WaitGroup
	for range 2 {
		removers.Go(func() {
			for len(stop) == 0 {
				removeIncomplete(root)
			}
		})
	}
	for round := range 100 {
		d, err := Create(root, "c")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		// In a directory that was removed no file can be made.
		if err := errors.Join(unix.Mknodat(d.FD(), stateFile, unix.S_IFREG, 0), d.Remove(), d.Close()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	stop <- struct{}{}
	removers.Wait()
}

const racers = 20

func TestOfManyGoroutinesExactlyOneCreates(t *testing.T) {
	for range 20 {
		root := filepath.Join(t.TempDir(), "root")
		var wg sync.WaitGroup
		var won atomic.Int32
		for range racers {
			wg.Go(func() {
				d, err := Create(root, "c")
				if err == nil {
					won.Add(1)
					err = d.Close()
				} else if errors.Is(err, ErrExist) {
					err = nil
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("%d creators won", n)
		}
	}
}

func TestOfManyProcessesExactlyOneCreates(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	var all []*exec.Cmd
	outs := make([]bytes.Buffer, racers)
	for i := range racers {
		cmd := child("create", root)
		cmd.Stdout = &outs[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	won := 0
	for i, cmd := range all {
		if cmd.Wait() == nil {
			won++
		} else if strings.TrimSpace(outs[i].String()) != ErrExist.Error() {
			t.Errorf("loser printed %q", outs[i].String())
		}
	}
	if won != 1 {
		t.Errorf("%d processes won", won)
	}
}

func createChild(root string) error {
	d, err := Create(root, "c")
	if err != nil {
		return err
	}
	return d.Close()
}

func killedTemp(root string) error {
	d, err := Create(root, "c")
	if err != nil {
		return err
	}
	return errors.Join(d.Save(&State{ID: "c", Bundle: "/old"}), d.write(newState, []byte("{")))
}

func killedSaved(root string) error {
	d, err := Create(root, "c")
	if err != nil {
		return err
	}
	return d.Save(&State{ID: "c", Bundle: "/old"})
}

func killedConfig(root string) error {
	d, err := Create(root, "c")
	if err != nil {
		return err
	}
	return d.SaveConfig([]byte("{}"))
}

func killedRemove(root string) error {
	return errors.Join(killedSaved(root), os.Remove(root+"/c/"+stateFile), unix.Mkfifo(root+"/c/"+StartSocket, 0o600))
}

func TestWhatASIGKILLLeavesCanBeRemoved(t *testing.T) {
	for _, c := range []struct {
		part string
		load error // what a reader finds before
	}{
		{"killed mkdir", ErrIncomplete},
		{"killed lock", ErrIncomplete},
		{"killed config", ErrIncomplete},
		{"killed temp", nil},
		{"killed saved", nil},
		{"killed remove", ErrIncomplete},
	} {
		t.Run(c.part, func(t *testing.T) {
			root := t.TempDir()
			cmd := child(c.part, root)
			out, err := cmd.CombinedOutput()
			if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
				t.Fatalf("child: %v: %s", err, out)
			}
			d := mustOpen(t, root)
			s, err := d.Load()
			if !errors.Is(err, c.load) {
				t.Errorf("load: %v, want %v", err, c.load)
			}
			if err == nil && s.Bundle != "/old" {
				t.Errorf("bundle %q, want the one saved before", s.Bundle)
			}
			if err := d.Lock(0); err != nil {
				t.Fatalf("the lock outlived its process: %v", err)
			}
			// What is left hinders neither a new state nor the removal.
			if err := errors.Join(d.Save(&State{ID: "c"}), d.write(newState, nil), d.Remove()); err != nil {
				t.Fatal(err)
			}
			if ids, err := List(root); err != nil || len(ids) != 0 {
				t.Errorf("left: %v, %v", ids, err)
			}
		})
	}
}

func TestRemoveTakesTheNotifySocketWithIt(t *testing.T) {
	for _, socket := range []bool{false, true} {
		d := mustCreate(t, t.TempDir(), "c")
		if err := os.Mkdir(d.Path()+"/"+NotifyDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if socket {
			if err := unix.Mknod(d.Path()+"/"+NotifyDir+"/"+NotifySocket, unix.S_IFSOCK|0o777, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Remove(); err != nil {
			t.Errorf("socket %v: %v", socket, err)
		}
		if _, err := os.Lstat(d.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("socket %v: %v, want nothing left", socket, err)
		}
	}
}

func TestRemoveDoesNotFollowLinksAndKeepsWhatIsNotOurs(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	d := mustCreate(t, root, "c")
	victim := outside + "/victim"
	if err := errors.Join(os.WriteFile(victim, nil, 0o600), os.Symlink(victim, d.Path()+"/"+configFile),
		os.WriteFile(d.Path()+"/foreign", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("remove with a foreign file: %v, want ENOTEMPTY", err)
	}
	if _, err := os.Stat(d.Path() + "/foreign"); err != nil {
		t.Errorf("foreign file: %v", err)
	}
	if err := errors.Join(os.Remove(d.Path()+"/foreign"), d.Remove(), d.Remove()); err != nil {
		t.Errorf("remove twice: %v", err)
	}
	if _, err := os.Stat(victim); err != nil {
		t.Errorf("the link's target: %v", err)
	}
}

func TestListNamesContainersOnly(t *testing.T) {
	root := t.TempDir()
	for _, id := range []string{"b", "a"} {
		mustCreate(t, root, id)
	}
	if err := errors.Join(os.WriteFile(root+"/file", nil, 0o600), os.Mkdir(root+"/no id", 0o700),
		os.Symlink("a", root+"/link")); err != nil {
		t.Fatal(err)
	}
	ids, err := List(root)
	if err != nil || strings.Join(ids, " ") != "a b" {
		t.Errorf("got %v, %v", ids, err)
	}
	if _, err := List(root + "/none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing root: %v, want ENOENT", err)
	}
}
