package bridge_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/bridge"
)

// A namespace whose file is a link to a process is used as before while that process lives, also by the next engine, and
// is nobody's when the process has gone or its number is another one's.
func TestLend(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-lend", false)
	path := sleeper(t)
	var pid int
	if _, err := fmt.Sscanf(path, "/proc/%d/ns/net", &pid); err != nil {
		t.Fatal(err)
	}
	if err := d.KeepNamespace("one", path); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]int{"one": os.Getpid(), "none": pid} {
		if _, err := d.Lend(name, other); err == nil {
			t.Errorf("lent %s to process %d", name, other)
		}
	}
	inode, err := d.Lend("one", pid)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if inode != st.Sys().(*syscall.Stat_t).Ino {
		t.Errorf("inode %d", inode)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), d.Path("one")) {
		t.Errorf("still mounted, or %v", err)
	}
	if link, err := os.Readlink(d.Path("one")); link != path || !d.Lives(d.Path("one")) {
		t.Errorf("link to %s, %v", link, err)
	}
	use := func() error {
		l := link(b, "eth0", "10.9.0.2/24")
		return errors.Join(d.Attach(d.Path("one"), bridge.Routes{}, l), d.Detach(d.Path("one"), l))
	}
	if err := use(); err != nil {
		t.Error(err)
	}
	d.Lent(d.Path("one"), inode+1)
	if err := use(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another namespace at that number: %v", err)
	}
	d.Lent(d.Path("one"), inode)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := use(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the process has ended: %v", err)
	}
	if err := d.RemoveNamespace("one"); err != nil {
		t.Error(err)
	}
	if list, err := d.Namespaces(); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}
