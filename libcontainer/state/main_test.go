package state

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv names the part that a copy of the test binary plays, and rootEnv its folder.
const (
	childEnv = "GANTRY_STATE_CHILD"
	rootEnv  = "GANTRY_STATE_ROOT"
)

func TestMain(m *testing.M) {
	part := os.Getenv(childEnv)
	if part == "" {
		before := openFiles()
		code := m.Run()
		if after := openFiles(); code == 0 && after > before {
			fmt.Printf("descriptors leaked: %d before, %d after\n", before, after)
			code = 1
		}
		os.Exit(code)
	}
	if err := children[part](os.Getenv(rootEnv)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// openFiles counts descriptors without those of Go's poller, which appear on first use.
func openFiles() (n int) {
	for fd := range 256 {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && link != "anon_inode:[eventpoll]" && link != "anon_inode:[eventfd]" &&
			link != "anon_inode:[pidfd]" {
			n++
		}
	}
	return n
}

// children are what copies of the test binary do.
var children = map[string]func(root string) error{
	"create":        createChild,
	"full disk":     fullDiskChild,
	"killed mkdir":  killedAfter(func(root string) error { return unix.Mkdir(root+"/c", 0o711) }),
	"killed lock":   killedAfter(func(root string) error { _, err := Create(root, "c"); return err }),
	"killed temp":   killedAfter(killedTemp),
	"killed saved":  killedAfter(killedSaved),
	"killed config": killedAfter(killedConfig),
	"killed remove": killedAfter(killedRemove),
}

// child starts a copy of the test binary.
func child(part, root string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+part, rootEnv+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// killedAfter makes a child that takes steps and then kills itself, as SIGKILL from
// outside would at that moment.
func killedAfter(steps func(root string) error) func(string) error {
	return func(root string) error {
		if err := steps(root); err != nil {
			return err
		}
		return unix.Kill(unix.Getpid(), unix.SIGKILL)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts in a private mount namespace")
	}
}
