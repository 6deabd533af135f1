package poller

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// limit names the environment variable that makes the test a process with no descriptor
// to spare.
const limit = "POLLER_TEST_LIMIT"

func TestMain(m *testing.M) {
	if os.Getenv(limit) != "" {
		os.Exit(withoutDescriptors())
	}
	os.Exit(m.Run())
}

// withoutDescriptors is 0 when Open returns EMFILE until three descriptors are free.
func withoutDescriptors() int {
	var open []int
	for {
		fd, err := unix.Dup(2)
		if err != nil {
			break
		}
		open = append(open, fd)
	}
	for range 3 {
		if err := Open(); !errors.Is(err, unix.EMFILE) {
			return 3
		}
		_ = unix.Close(open[len(open)-1])
		open = open[:len(open)-1]
	}
	if Open() != nil {
		return 4
	}
	return 0
}

func TestOpenWithoutDescriptorsIsAnError(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `ulimit -n 30; exec "$0"`, self)
	cmd.Env = append(os.Environ(), limit+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %.500s", err, out)
	}
}

func TestOpenTwice(t *testing.T) {
	for range 2 {
		if err := Open(); err != nil {
			t.Error(err)
		}
	}
}
