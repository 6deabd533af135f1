package external

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

func pipeName(t *testing.T, f *os.File) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("pipe:[%d]", st.Ino)
}

func TestAPipeWithBothEndsInsideIsInternal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	name, members := pipeName(t, r), []int{os.Getpid()}
	if !isInternal(name, members) {
		t.Error("a pipe with both ends inside leads out")
	}
	if isInternal(name, nil) || isInternal("pipe:[0]", members) {
		t.Error("a pipe of nobody's is internal")
	}
	_ = w.Close()
	if isInternal(name, members) {
		t.Error("a pipe whose other end is elsewhere is internal")
	}
}

func TestDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.OpenFile(t.TempDir()+"/log", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.Stdin, cmd.Stdout = r, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	// Its mounts are ours: only the pipe leads out.
	keys, err := Descriptors(cmd.Process.Pid, []int{cmd.Process.Pid})
	if err != nil || len(keys) != 3 || keys[0] != pipeName(t, r) || keys[1] != "" || keys[2] != "" {
		t.Errorf("descriptors %q, %v", keys, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("/proc/%d/fd/1", cmd.Process.Pid)
	key, err := fileKey(cmd.Process.Pid, 1, link, []host.Mount{{ID: "0"}})
	if err != nil || !IsFile(key) || !strings.HasSuffix(key, fmt.Sprintf(":%x]", st.Ino)) {
		t.Errorf("a file on no mount of the container: %q, %v", key, err)
	}
}
