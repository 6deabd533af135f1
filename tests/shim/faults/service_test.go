// Package faults_test breaks what a shim lives with, and looks at what containerd and its clients see of it: that no
// exit is lost, reordered or told twice, and that nothing is left.
package faults_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// The containerds that the tests are run with: the newest, and the oldest that is in use. GANTRY_DAEMON=gantry puts our
// manager in the place of the newest.
var newest = newestOr(os.Getenv("GANTRY_DAEMON"))

const debian = compat.Containerd16

func newestOr(name string) compat.Generation {
	if name == string(compat.Gantry) {
		return compat.Gantry
	}
	return compat.Containerd24
}

// TestMain gives the tests a /run of their own: Debian's containerd has its shims make their sockets in
// /run/containerd/s, wherever its state is.
func TestMain(m *testing.M) {
	flag.Parse()
	// They wait more than they compute.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// own says that the shim is not ours but containerd's, which shows what a test is worth.
func own() bool { return os.Getenv("GANTRY_SHIM") == "upstream" }

// service is a containerd with a state, a namespace and sockets of its own, and a client of it.
type service struct {
	*client.Client
	t      testing.TB
	dir    string // short, because of the sockets in it
	marker string // the folder's name, the namespace, and the cgroup of all containers
	shim   string
	daemon *compat.Containerd
	rootfs string

	mu  sync.Mutex
	ids []string // all that there were
}

// start starts a containerd. At the test's end all that was made must have gone, as far as the test did not fail.
func start(t *testing.T, g compat.Generation) *service {
	t.Helper()
	harness.NeedRoot(t)
	s := &service{t: t, shim: compat.Shim(t, g), rootfs: filepath.Join(harness.New(t).Bundle("", nil), "rootfs")}
	s.daemon = compat.StartContainerd(t, g, s.shim)
	s.dir, s.marker = s.daemon.Dir, s.daemon.Marker
	if err := os.Mkdir(s.path("io"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Client = client.New(s.path("sock"), s.marker)
	t.Cleanup(s.Close)
	t.Cleanup(s.checkBundles)
	return s
}

func (s *service) path(name string) string { return filepath.Join(s.dir, name) }

func (s *service) write(name, content string, mode fs.FileMode) string {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// bundle is the folder that the daemon makes for a container.
func (s *service) bundle(id string) string {
	return filepath.Join(s.dir, "state", "io.containerd.runtime.v2.task", s.marker, id)
}

// checkBundles deletes the tasks that are left, which only a test that failed may leave, and looks for bundles.
func (s *service) checkBundles() {
	if s.Version(context.Background()) != nil { // the test has stopped it
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	list, err := s.List(ctx)
	if err != nil {
		s.t.Error(err)
	}
	for _, p := range list {
		if !s.t.Failed() {
			s.t.Errorf("left behind: task %s", p.Id)
		}
		_ = s.Kill(ctx, p.Id, "", int(unix.SIGKILL))
		_, _ = s.Wait(ctx, p.Id, "")
		if _, err := s.Delete(ctx, p.Id, ""); err != nil {
			s.t.Errorf("delete %s: %v", p.Id, err)
		}
	}
	for _, id := range s.ids {
		if !harness.Until(5*time.Second, func() bool { return missing(s.bundle(id)) }) {
			s.t.Errorf("left behind: the bundle of %s", id)
		}
		_ = s.DeleteContainer(ctx, id)
	}
}

// sockets are the two places where the socket of a container's shim may be: 2.4 is told which folder to use.
func (s *service) sockets(id string) []string {
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(filepath.Join(s.path("sock"), s.marker, id))))
	return []string{filepath.Join(s.path("s"), name), filepath.Join("/run/containerd/s", name)}
}

// socket is the one that there is.
func (s *service) socket(id string) string {
	for _, path := range s.sockets(id) {
		if !missing(path) {
			return path
		}
	}
	s.t.Errorf("no socket of %s", id)
	return ""
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// suspend stops the daemon's process as SIGSTOP does; resume lets it go on, at the latest when the test ends.
func (s *service) suspend(t *testing.T) {
	t.Helper()
	if err := unix.Kill(s.daemonPid(t), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.resume(t) })
}

func (s *service) resume(t *testing.T) {
	t.Helper()
	if err := unix.Kill(s.daemonPid(t), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func (s *service) daemonPid(t *testing.T) int {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.HasSuffix(string(b), "\x00--config\x00"+s.path("config.toml")+"\x00") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				return pid
			}
		}
	}
	t.Fatal("no daemon")
	return 0
}
