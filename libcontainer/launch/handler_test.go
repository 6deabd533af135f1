package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHandlerIsASealedCopy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "handler")
	content := strings.Repeat("a program ", 10_000)
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := CopyHandler(file)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if !isSealed(h.fd()) {
		t.Error("it can be changed")
	}
	if flags, err := unix.FcntlInt(uintptr(h.fd()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("it stays open across execve: flags %#x, %v", flags, err)
	}
	got := make([]byte, len(content)+1)
	if n, err := unix.Pread(h.fd(), got, 0); err != nil || string(got[:n]) != content {
		t.Errorf("%d bytes, %v, are another program", n, err)
	}
}

func TestHandlerThatOthersMayChangeIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(file string) error
		want string
	}{
		"missing":        {func(string) error { return nil }, "no such file"},
		"a directory":    {func(f string) error { return os.Mkdir(f, 0o755) }, "not a regular file"},
		"a FIFO":         {func(f string) error { return unix.Mkfifo(f, 0o755) }, "not a regular file"},
		"group-writable": {func(f string) error { return writeMode(f, 0o775) }, "mode 0775 lets others write it"},
		"world-writable": {func(f string) error { return writeMode(f, 0o757) }, "mode 0757 lets others write it"},
		"of another user": {func(f string) error {
			if err := writeMode(f, 0o755); err != nil || os.Geteuid() != 0 {
				return err
			}
			return os.Chown(f, 1000, 1000)
		}, "owned by user 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "of another user" && os.Geteuid() != 0 {
				t.Skip("only root gives files away")
			}
			file := filepath.Join(t.TempDir(), "handler")
			if err := tc.make(file); err != nil {
				t.Fatal(err)
			}
			h, err := CopyHandler(file)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				h.Close()
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func writeMode(file string, mode os.FileMode) error {
	if err := os.WriteFile(file, []byte("a program"), 0o600); err != nil {
		return err
	}
	return os.Chmod(file, mode)
}
