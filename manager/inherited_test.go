package manager

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/config"
)

// A manager that was killed while it began a process leaves what it had open with that, for a moment: the next one
// waits. One that is there for good is not waited for without end.
func TestInherited(t *testing.T) {
	dir := t.TempDir()
	address := filepath.Join(dir, "sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	locked, err := lock(filepath.Join(dir, "state"), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	heir := exec.Command("sh", "-c", "read line")
	heir.ExtraFiles = []*os.File{socket, locked}
	stdin, err := heir.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := heir.Start(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	socket.Close()
	locked.Close()
	if _, err := Listen(config.Socket{Address: address}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("while it is listened on: %v", err)
	}
	done := make(chan error)
	go func() {
		stdin.Close()
		done <- heir.Wait()
	}()
	again, err := Listen(config.Socket{Address: address})
	if err != nil {
		t.Errorf("when it is about to go: %v", err)
	} else {
		again.Close()
	}
	f, err := lock(filepath.Join(dir, "state"), 0o700)
	if err != nil {
		t.Errorf("lock: %v", err)
	} else {
		f.Close()
	}
	if err := <-done; err == nil {
		t.Error("the heir's read succeeds without a line")
	}
}
