package inroot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a root with files inside, and a canary beside it that must never be read.
func tree(t *testing.T) (rootFD int, root, outside string) {
	t.Helper()
	base := t.TempDir()
	root, outside = base+"/root", base+"/outside"
	inside := root + outside // what an absolute link to the canary means in the container
	err := errors.Join(os.MkdirAll(root+"/dir/sub", 0o700), os.MkdirAll(filepath.Dir(inside), 0o700),
		os.Mkdir(outside, 0o700), os.Mkdir(inside, 0o700),
		os.WriteFile(outside+"/file", []byte("outside"), 0o600),
		os.WriteFile(inside+"/file", []byte("inside by link"), 0o600),
		os.WriteFile(root+"/dir/file", []byte("inside"), 0o600),
		os.WriteFile(root+"/empty", nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	rootFD, err = unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(rootFD) })
	return rootFD, root, outside
}

func TestReadFileStaysInside(t *testing.T) {
	rootFD, root, outside := tree(t)
	link := func(target, name string) {
		if err := os.Symlink(target, root+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	link(outside+"/file", "absolute")
	link(outside, "dirlink")
	link("../../../../../../../../.."+outside+"/file", "relative")
	link("../outside/file", "neighbour")
	link("dir/file", "good")
	link("/dir/file", "rooted")
	link("nowhere", "dangling")
	link("loop", "loop")
	for _, c := range []struct {
		name, path, want string
		err              error
	}{
		{"a file", "/dir/file", "inside", nil},
		{"a relative path", "dir/file", "inside", nil},
		{"an empty file", "/empty", "", nil},
		{"a link inside", "/good", "inside", nil},
		{"an absolute link means the container's root", "/rooted", "inside", nil},
		{"an absolute link to the host", "/absolute", "inside by link", nil},
		{"a directory linked to the host", "/dirlink/file", "inside by link", nil},
		{"a relative link above the root", "/relative", "inside by link", nil},
		{"a link to a neighbour of the root", "/neighbour", "", unix.ENOENT},
		{"a path above the root", "/../../outside/file", "", unix.ENOENT},
		{"a way up that stays inside", "/dir/sub/../file", "inside", nil},
		{"a dangling link", "/dangling", "", unix.ENOENT},
		{"a link to itself", "/loop", "", unix.ELOOP},
		{"a file as a directory", "/dir/file/x", "", unix.ENOTDIR},
		{"an empty path", "", "", unix.ENOENT},
		{"NUL in a path", "/dir\x00/file", "", unix.EINVAL},
		{"a directory", "/dir", "", ErrNotRegular},
		{"the root", "/", "", ErrNotRegular},
		{"a name too long", "/" + strings.Repeat("a", 300), "", unix.ENAMETOOLONG},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadFile(rootFD, Path(c.path), 1<<20)
			if string(got) != c.want || !errors.Is(err, c.err) || err != nil && c.err == nil {
				t.Errorf("got %q, %v, want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestOpenRefusesMagicLinks(t *testing.T) {
	rootFD, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(rootFD)
	for _, p := range []Path{"/proc/self/cwd", "/proc/self/root/etc", "/proc/self/fd/0", "/proc/self/exe", "/proc/self/ns/mnt"} {
		if fd, err := Open(rootFD, p, unix.O_PATH); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: descriptor %d, %v, want ELOOP", p, fd, err)
		}
	}
}

func TestOpenMakesNoFile(t *testing.T) {
	rootFD, root, _ := tree(t)
	if fd, err := Open(rootFD, "/new", unix.O_CREAT|unix.O_WRONLY); !errors.Is(err, unix.EINVAL) {
		t.Errorf("descriptor %d, %v, want EINVAL", fd, err)
	}
	if _, err := os.Lstat(root + "/new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}

func TestOpenClosesOnExec(t *testing.T) {
	rootFD, _, _ := tree(t)
	fd, err := Open(rootFD, "/dir", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("descriptor flags %d, %v", flags, err)
	}
}

func TestReadFileReadsRegularFilesOnly(t *testing.T) {
	rootFD, root, _ := tree(t)
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	t.Chdir(root) // a socket's path is short
	if err := errors.Join(unix.Mkfifo("fifo", 0o600), unix.Bind(sock, &unix.SockaddrUnix{Name: "socket"})); err != nil {
		t.Fatal(err)
	}
	names := []Path{"/fifo", "/socket"}
	if err := unix.Mknod("null", unix.S_IFCHR|0o600, 1<<8|3); err == nil {
		names = append(names, "/null")
	} else if os.Geteuid() == 0 {
		t.Error(err)
	}
	for _, p := range names {
		if got, err := ReadFile(rootFD, p, 100); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %q, %v, want ErrNotRegular", p, got, err)
		}
	}
}

func TestReadFileLimit(t *testing.T) {
	rootFD, _, _ := tree(t)
	if got, err := ReadFile(rootFD, "/dir/file", 6); err != nil || string(got) != "inside" {
		t.Errorf("as long as the limit: %q, %v", got, err)
	}
	if got, err := ReadFile(rootFD, "/dir/file", 5); !errors.Is(err, unix.EFBIG) {
		t.Errorf("longer than the limit: %q, %v, want EFBIG", got, err)
	}
}

// TestLookupsDuringExchangesStayInside has another thread exchange a directory and a link to
// the host all the time. A plain open is the control: it must be caught out.
func TestLookupsDuringExchangesStayInside(t *testing.T) {
	rootFD, root, outside := tree(t)
	// The link's target doesn't exist inside, so every escape shows.
	if err := errors.Join(os.RemoveAll(root+outside), os.Symlink(outside, root+"/link")); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := unix.Renameat2(rootFD, "dir", rootFD, "link", unix.RENAME_EXCHANGE); err != nil {
				done <- err
				return
			}
		}
	}()
	inside := 0
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; n < 2000 || inside == 0 && time.Now().Before(deadline); n++ {
		for _, p := range []Path{"/dir/file", "/dir/../dir/file", "/dir/sub/../file"} {
			got, err := ReadFile(rootFD, p, 100)
			switch {
			case err == nil && string(got) == "inside":
				inside++
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			default:
				t.Fatalf("%s: %q, %v", p, got, err)
			}
		}
	}
	if inside == 0 {
		t.Error("no lookup found the file inside")
	}
	caught := false
	for deadline = time.Now().Add(10 * time.Second); !caught && time.Now().Before(deadline); {
		text, err := os.ReadFile(root + "/dir/file")
		caught = err == nil && string(text) == "outside"
	}
	if !caught {
		t.Error("the exchanges caught no plain open either: the test proves nothing")
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
