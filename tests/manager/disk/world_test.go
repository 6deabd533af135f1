package disk_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// world is a manager, and a client of it in a namespace that has a busybox image.
type world struct {
	*compat.Client
	t *testing.T
}

// start starts a manager after its folder was prepared. At the test's end all that was made must have gone.
func start(t *testing.T, before ...func(dir string)) *world {
	t.Helper()
	harness.NeedRoot(t)
	daemon := compat.StartContainerd(t, compat.Gantry, compat.Shim(t, compat.Gantry), before...)
	return &world{daemon.Client(harness.Runtime(t)), t}
}

func (w *world) path(name string) string { return filepath.Join(w.Dir, name) }

// small mounts a tmpfs of so many bytes at a name in the manager's folder.
func small(t *testing.T, name string, size int) func(dir string) {
	return func(dir string) {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(at, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("mode=711,size=%d", size)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Errorf("unmount %s: %v", at, err)
			}
		})
	}
}

// api connects containerd's own client. Each life of a manager needs a new one.
func (w *world) api() (*containerd.Client, context.Context) {
	w.t.Helper()
	c, err := containerd.New(w.path("sock"), containerd.WithTimeout(harness.Limit(20*time.Second)))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(60*time.Second))
	w.t.Cleanup(func() {
		cancel()
		_ = c.Close() // its manager may be dead
	})
	return c, namespaces.WithNamespace(ctx, w.Namespace)
}

// room is how many bytes are free on the file system of a path.
func room(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize //nolint:gosec // a small disk
}

// taken is how many bytes of the root's file system are in use, but for the databases and their copies: bbolt keeps what
// it has had, for itself.
func (w *world) taken() (bytes, databases int64) {
	w.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(w.path("root"), &st); err != nil {
		w.t.Fatal(err)
	}
	err := filepath.WalkDir(w.path("root"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".db") {
			return err
		}
		var file unix.Stat_t
		if err := unix.Lstat(path, &file); err != nil {
			return err
		}
		databases += file.Blocks * 512
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree)*st.Bsize - databases, databases //nolint:gosec // a small disk
}

// leave writes a file that leaves so many bytes of a file system, to the block.
func leave(t *testing.T, dir string, left int64) (path string) {
	t.Helper()
	path = filepath.Join(dir, "ballast")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); room(t, dir) > left; {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// image writes an archive, as `docker save` does, of an image of one layer with a file of so many bytes that compress to
// nothing less.
func image(t *testing.T, dir, name string, size int) (path string) {
	t.Helper()
	layer := archive(t, map[string][]byte{"big": random(name, size)})
	config := encoded(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	manifest := encoded(t, []map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	path = filepath.Join(dir, "image.tar")
	if err := os.WriteFile(path, archive(t, map[string][]byte{"layer.tar": layer, "config.json": config, "manifest.json": manifest}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// random are so many bytes, always the same for a name.
func random(name string, size int) []byte {
	body := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(body) // never fails
	return body
}

func encoded(t *testing.T, value any) []byte {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func archive(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// full wants a ctr that fails, and says of the disk that it is full.
func (w *world) full(args ...string) {
	w.t.Helper()
	_, err := w.Try(args...)
	if err == nil {
		w.t.Errorf("ctr %v: succeeds on a full disk", args)
		return
	}
	w.t.Log(err)
	if !strings.Contains(err.Error(), "no space left on device: resource exhausted\n") && !compat.Gantry.Upstream() || !strings.Contains(err.Error(), "no space left on device") {
		w.t.Errorf("it does not say why, or not in gRPC's word for it: %v", err)
	}
}

// run starts a container in the background.
func (w *world) run(id, script string) {
	w.t.Helper()
	w.Ctr("run", "-d", compat.ImageName, id, "sh", "-c", script)
}

// stop kills a container and removes it.
func (w *world) stop(id string) {
	w.t.Helper()
	w.Ctr("tasks", "kill", "-s", "KILL", id)
	w.gone(id)
	w.Ctr("tasks", "rm", "-f", id)
	w.Ctr("containers", "rm", id)
}

// gone waits until a task has ended.
func (w *world) gone(id string) {
	w.t.Helper()
	if !harness.Until(20*time.Second, func() bool { task, err := w.Task(id); return err == nil && task.Status == "STOPPED" }) {
		w.t.Errorf("%s does not end", id)
	}
}

// works runs a program of the image, which ends with a code of its own.
func (w *world) works(id string) {
	w.t.Helper()
	if _, err := w.Try("run", "--rm", compat.ImageName, id, "sh", "-c", "exit 7"); err == nil || !strings.Contains(err.Error(), "exit status 7:") {
		w.t.Errorf("the image's program ends with %v; want code 7", err)
	}
}
