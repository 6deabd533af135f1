package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// The shim is found by what we, containerd, or old shims have left in the bundle, and without any of it where shims
// usually listen.
func TestLoad(t *testing.T) {
	for name, change := range map[string]func(f *fakes, dir string) error{
		"ours": func(*fakes, string) error { return nil },
		"containerd": func(f *fakes, dir string) error {
			return writeBootstrap(dir, `{"version":3,"address":"unix://`+f.dir+`/a","protocol":"ttrpc"}`)
		},
		"version 2": func(f *fakes, dir string) error {
			return writeBootstrap(dir, `{"version":2,"address":"unix://`+f.dir+`/a","protocol":"ttrpc"}`)
		},
		"1.7": func(f *fakes, dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "bootstrap.json")), os.WriteFile(filepath.Join(dir, "address"), []byte("unix://"+f.dir+"/a"), 0o600))
		},
		"killed in between": func(f *fakes, dir string) error {
			usual := f.launcher.usualAddress(f.store.Get("test", "a"))[0].Address
			return errors.Join(os.Remove(filepath.Join(dir, "bootstrap.json")), os.Rename(filepath.Join(f.dir, "a"), strings.TrimPrefix(usual, "unix://")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakes(t, "new")
			s := f.start("a")
			pid := s.PID()
			s.Close() //nolint:errcheck // it lives on
			if err := change(f, s.bundle.Path); err != nil {
				t.Fatal(err)
			}
			f.behave("new")
			s, err := f.launcher.Load(t.Context(), s.bundle)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // it lives on
			if s.PID() != pid {
				t.Errorf("process %d, want %d", s.PID(), pid)
			}
			if _, err := s.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "a"}); err != nil {
				t.Error(err)
			}
		})
	}
}

func writeBootstrap(dir, text string) error {
	return os.WriteFile(filepath.Join(dir, "bootstrap.json"), []byte(text), 0o644)
}

// Dead and hung are two things.
func TestLoadFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *fakes, s *Shim) error
		is    func(error) bool
	}{
		"killed":       {func(_ *fakes, s *Shim) error { return unix.Kill(s.PID(), unix.SIGKILL) }, errdefs.IsNotFound},
		"stopped":      {func(_ *fakes, s *Shim) error { return unix.Kill(s.PID(), unix.SIGSTOP) }, errdefs.IsUnavailable},
		"no socket":    {func(f *fakes, _ *Shim) error { return os.Remove(filepath.Join(f.dir, "a")) }, errdefs.IsNotFound},
		"half a file":  {func(_ *fakes, s *Shim) error { return writeBootstrap(s.bundle.Path, `{"version":`) }, errdefs.IsNotFound},
		"empty file":   {func(_ *fakes, s *Shim) error { return writeBootstrap(s.bundle.Path, "") }, errdefs.IsNotFound},
		"no file":      {func(_ *fakes, s *Shim) error { return os.Remove(filepath.Join(s.bundle.Path, "bootstrap.json")) }, errdefs.IsNotFound},
		"no bundle":    {func(_ *fakes, s *Shim) error { return os.RemoveAll(s.bundle.Path) }, errdefs.IsNotFound},
		"not a socket": {func(f *fakes, _ *Shim) error { return notASocket(filepath.Join(f.dir, "a")) }, errdefs.IsNotFound},
		"garbage":      {func(f *fakes, _ *Shim) error { return garbageServer(t, filepath.Join(f.dir, "a")) }, errdefs.IsUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakes(t, "new")
			s := f.start("a")
			s.Close() //nolint:errcheck // it lives on
			f.launcher.limits.answer = time.Second
			if err := c.spoil(f, s); err != nil {
				t.Fatal(err)
			}
			if name == "stopped" {
				stopped(t, s.PID())
			}
			if _, err := f.launcher.Load(t.Context(), s.bundle); err == nil || !c.is(err) {
				t.Errorf("got %v", err)
			}
			if len(f.launcher.servers) != 0 {
				t.Error("the server is kept")
			}
		})
	}
}

// stopped waits until SIGSTOP has had its effect.
func stopped(t *testing.T, pid int) {
	t.Helper()
	if !harness.Until(10*time.Second, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	}) {
		t.Fatal("it does not stop")
	}
}

func notASocket(path string) error {
	return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
}

// garbageServer answers whatever comes with something else.
func garbageServer(t *testing.T, path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) //nolint:errcheck // it is for nobody
			conn.Close()
		}
	}()
	return nil
}

// Many shims are loaded at the same time, and those that hang hold up nobody.
func TestLoadMany(t *testing.T) {
	f := newFakes(t, "new group")
	const n = 100
	for i := range n {
		b := f.bundle(fmt.Sprint("c", i))
		if i == 0 {
			s, err := f.launcher.Start(t.Context(), b, f.request())
			if err != nil {
				t.Fatal(err)
			}
			s.Close() //nolint:errcheck // it lives on
		}
		if err := writeBootstrap(b.Path, `{"version":3,"address":"unix://`+f.dir+`/group","protocol":"ttrpc"}`); err != nil {
			t.Fatal(err)
		}
	}
	found, err := f.store.List(t.Context())
	if err != nil || len(found) != n {
		t.Fatalf("%d bundles, %v", len(found), err)
	}
	f.behave("new group")
	var all sync.WaitGroup
	shims := make([]*Shim, n)
	for i, b := range found {
		all.Go(func() {
			s, err := f.launcher.Load(t.Context(), b)
			if err != nil {
				t.Error(err)
			}
			shims[i] = s
		})
	}
	all.Wait()
	for _, s := range shims {
		if s.server != shims[0].server {
			t.Fatal("they do not share their connection")
		}
		s.Close() //nolint:errcheck // it lives on
	}
	if len(f.launcher.servers) != 0 {
		t.Error("the server is kept")
	}
}

// A pod's sandbox is another's shim.
func TestAttach(t *testing.T) {
	f := newFakes(t, "new only3")
	pod := f.start("pod")
	b := f.bundle("c")
	s, err := f.launcher.Attach(t.Context(), b, "ttrpc+"+pod.Address(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if s.PID() != pod.PID() || s.server != pod.server {
		t.Error("it is another one")
	}
	s.Close() //nolint:errcheck // the pod has it
	if answer, err := f.launcher.Delete(t.Context(), b); err != nil || answer.Pid != 42 {
		t.Errorf("delete: %v, %v", answer, err)
	}
	s, err = f.launcher.Load(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	s.Close() //nolint:errcheck // the pod has it
	for address, is := range map[string]func(error) bool{
		"unix:///nowhere/x": errdefs.IsUnavailable,
		"vsock://3:1":       errdefs.IsNotImplemented,
	} {
		if _, err := f.launcher.Attach(t.Context(), f.bundle("d"+address[:4]), address, 3); err == nil || !is(err) {
			t.Errorf("%s: got %v", address, err)
		}
	}
	if _, err := f.launcher.Attach(t.Context(), b, pod.Address(), 7); !errdefs.IsNotImplemented(err) {
		t.Errorf("version 7: got %v", err)
	}
}
