package rootfs

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/engine/embedded"
)

// inside, set in the environment, makes this program a container's process: it moves into the folder that is named, has
// something mounted there, and waits for its input to end.
const inside = "GANTRY_TEST_INSIDE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(inside); dir != "" {
		if err := live(dir); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func live(dir string) error {
	for _, err := range []error{
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Chdir(dir),
		unix.Mount("tmpfs", "dir", "tmpfs", 0, ""),
		unix.PivotRoot(".", "."),
		unix.Unmount(".", unix.MNT_DETACH),
		os.WriteFile("/written", []byte("inside"), 0o600),
		os.WriteFile("/dir/hidden", nil, 0o600),
		// A process may take another root; it is not that of the container.
		unix.Chroot("/etc"),
	} {
		if err != nil {
			return err
		}
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// runInside starts a process whose root is a snapshot.
func runInside(t *testing.T, s *Service, key string) (pid int, end func()) {
	t.Helper()
	mounts, err := s.Mounts(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{inside + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	// Only the process has it from now on.
	if err := mount.UnmountAll(dir, 0); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	if line != "ready\n" {
		end()
		t.Fatalf("it is not ready: %s", stderr.String())
	}
	return cmd.Process.Pid, end
}

func TestRunning(t *testing.T) {
	s, chain := image(t)
	// The id of a container is in the path of its cgroup; this one is in every such path.
	const id = ":/"
	var pid int
	s.pid = func(string) int { return pid }
	if err := s.Create(t.Context(), id, chain); err != nil {
		t.Fatal(err)
	}
	p, end := runInside(t, s, id)
	pid = p
	tree, err := s.OpenWritable(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := tree.ReadFile("/written", 10); err != nil || string(b) != "inside" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := tree.ReadFile("/dir/hidden", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something that is mounted there shows: %v", err)
	}
	if err := tree.MkdirAll("/new/er", 0o755); err != nil {
		t.Error(err)
	}
	// The same mount, not another one: the process sees it.
	other, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.OpenFile("/new/er", unix.O_PATH); err != nil {
		t.Error(err)
	}
	other.Root.Close()
	end()
	if _, err := tree.ReadFile("/written", 10); err != nil {
		t.Errorf("after the process's end: %v", err)
	}
	tree.Root.Close()
	if tree, err = s.Open(t.Context(), id); err != nil {
		t.Fatalf("with the pid of a process that ended: %v", err)
	}
	if err := tree.MkdirAll("/x", 0o755); err == nil {
		t.Error("it is not the snapshot")
	}
	tree.Root.Close()
}

func TestStrangersProcess(t *testing.T) {
	s, chain := image(t)
	pid := os.Getpid()
	s.pid = func(string) int { return pid }
	// The second one is in the path of every cgroup.
	for _, id := range []string{"a-stranger", ":"} {
		if err := s.Create(t.Context(), id, chain); err != nil {
			t.Fatal(err)
		}
		tree, err := s.Open(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Root.Close()
		if _, err := tree.ReadFile("/top", 10); err != nil {
			t.Errorf("%s: the pid of another process was taken: %v", id, err)
		}
	}
}

// TestDetachElsewhere is the way of kernels that cannot take one layer at a time.
func TestDetachElsewhere(t *testing.T) {
	s, chain := image(t)
	if err := s.Create(t.Context(), "c", chain); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.Mounts(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	o := parseOverlay(mounts[0].Options).readonly()
	if len(o.lower) < 4 {
		t.Fatalf("too few layers: %v", o.lower)
	}
	if base := commonDir(o.lower); !strings.HasSuffix(base, "/snapshots") {
		t.Errorf("common folder: %s of %v", base, o.lower)
	}
	mounts[0].Options = o.options()
	root, err := detachElsewhere(mounts)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if b, err := readIn(root, "/top", 10); err != nil || string(b) != "top" {
		t.Errorf("%q, %v", b, err)
	}
	if shown := embedded.Mounts(t); len(shown) > 0 {
		t.Errorf("mounts show: %q", shown)
	}
}

func TestInitLayerOutlivesContainers(t *testing.T) {
	s, chain := image(t)
	if err := s.Create(t.Context(), "c", chain); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	if _, err := s.client.SnapshotService(embedded.Snapshotter).Stat(t.Context(), initKey(chain)); err != nil {
		t.Errorf("the init layer went before its image: %v", err)
	}
	if err := s.Create(t.Context(), "c", chain); err != nil {
		t.Fatal(err)
	}
	collect(t, s)
	if _, err := s.Mounts(t.Context(), "c"); err != nil {
		t.Errorf("the container's snapshot was collected: %v", err)
	}
}

// collect makes the manager collect garbage.
func collect(t *testing.T, s *Service) {
	t.Helper()
	service := s.client.LeasesService()
	l, err := service.Create(t.Context(), leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Delete(t.Context(), l, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
}
