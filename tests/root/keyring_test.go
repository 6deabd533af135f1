package root_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// keyringsOf lists the session keyrings of a container by serial number, keyrings(7). There
// is no other way to see them from outside, and a keyring that nobody has is gone.
func keyringsOf(t *testing.T, id string) (list []int) {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/keys")) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[7] != "keyring" || fields[8] != "_ses."+id+":" {
			continue
		}
		serial, err := strconv.ParseInt(fields[0], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, int(serial))
	}
	return list
}

func TestSessionKeyring(t *testing.T) {
	harness.NeedRoot(t)
	if _, err := os.Stat("/proc/keys"); err != nil {
		t.Skip("needs a kernel with keys")
	}
	for name, edit := range map[string]change{"root": nil, "a user namespace": mapped} {
		t.Run(name, func(t *testing.T) {
			c := start(t, edit)
			equal(t, "keyrings of init", 1, len(keyringsOf(t, c.id)))
			c.execed(nil)
			c.execed(&specs.Process{})
			equal(t, "keyrings of init and two more processes", 3, len(keyringsOf(t, c.id)))
		})
		t.Run(name+" with --no-new-keyring", func(t *testing.T) {
			c := start(t, edit, "--no-new-keyring")
			equal(t, "keyrings", 0, len(keyringsOf(t, c.id)))
		})
	}
}

// onThreadThatEnds runs f on a thread that ends with it, and with its ids and keys. Go keeps
// the first thread of the process as it is until the process ends.
func onThreadThatEnds(f func()) {
	runtime.LockOSThread() // not unlocked, so that the thread ends
	if unix.Gettid() != os.Getpid() {
		f()
		return
	}
	defer runtime.UnlockOSThread()
	other := make(chan struct{})
	go func() {
		defer close(other)
		onThreadThatEnds(f)
	}()
	<-other
}

// fillQuota gives a user as many keys as it may have, until the test ends, keyrings(7).
func fillQuota(t *testing.T, uid int) {
	t.Helper()
	full, done := make(chan error), make(chan struct{})
	go onThreadThatEnds(func() {
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		err := error(errno)
		for i := 0; errno == 0 && !errors.Is(err, unix.EDQUOT) && i < 1<<12; i++ {
			_, err = unix.AddKey("user", fmt.Sprintf("gantry-%d", i), []byte("x"), unix.KEY_SPEC_THREAD_KEYRING)
		}
		full <- err
		<-done
	})
	t.Cleanup(func() {
		close(done)
		// The kernel collects the keys of a thread that ended some time later.
		if !harness.Until(30*time.Second, func() bool { return keysOfUser(t, uid) < 100 }) {
			t.Errorf("uid %d still has %d keys", uid, keysOfUser(t, uid))
		}
	})
	if err := <-full; !errors.Is(err, unix.EDQUOT) {
		t.Skipf("the quota of uid %d can't be filled: %v", uid, err)
	}
}

// keysOfUser is how many keys count against a user's quota: a line of /proc/key-users is
// "UID: usage all/instantiated keys/maxkeys bytes/maxbytes".
func keysOfUser(t *testing.T, uid int) int {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/key-users")) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[0] != strconv.Itoa(uid)+":" {
			continue
		}
		keys, _, _ := strings.Cut(fields[3], "/")
		n, err := strconv.Atoi(keys)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 0
}

// TestKeyringQuota: engines that map root to another user start more containers than such
// a user may have keyrings.
func TestKeyringQuota(t *testing.T) {
	harness.NeedRoot(t)
	t.Run("the keyring is the runtime's user's in a user namespace", func(t *testing.T) {
		fillQuota(t, mappedRoot)
		c := start(t, mapped)
		equal(t, "exec", "0", c.exec("id -u"))
	})
	t.Run("a user who has no more is told what to do", func(t *testing.T) {
		r := newRootless(t)
		fillQuota(t, nobody)
		bundle := r.bundle("echo started", nil)
		res := r.as("run", "-b", bundle, r.ID("c"))
		wantFailure(t, res, "kernel.keys.maxkeys", "--no-new-keyring", "disk quota exceeded")
		equal(t, "left behind", []string(nil), r.Leftovers())
		equal(t, "with --no-new-keyring", "started", r.must("run", "--no-new-keyring", "-b", bundle, r.ID("d")))
	})
}
