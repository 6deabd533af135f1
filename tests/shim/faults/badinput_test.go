package faults_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/bootstrap"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

var noIO = client.IO{}

func containsPanic(log string) bool {
	return strings.Contains(log, "panic:") || strings.Contains(log, "fatal error:") || strings.Contains(log, "goroutine 1 [")
}

// TestBadCreate creates containers that can't be. The error says why; nothing is left, and nothing is told.
func TestBadCreate(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	sub := s.Subscribe(t.Context())
	runtime := func(name, script string) string {
		return s.write("bin/"+name, "#!/bin/sh\ncase \" $* \" in *' create '*)\n"+script+";;\n*) exec "+s.path("bin/runc")+" \"$@\";;\nesac\n", 0o755)
	}
	// In the arguments, --log is followed by a path.
	const toLog = `for a; do [ "$last" = --log ] && log=$a; last=$a; done; `
	for _, test := range []struct {
		container
		want  string // in the error
		limit time.Duration
	}{
		{container{id: "options", options: &known.Any{TypeUrl: "example.com/unknown.Options", Value: []byte("x")}}, "example.com/unknown.Options", 0},
		{container{id: "options-garbage", options: &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: []byte{0xff, 0xff, 0xff}}}, "", 0},
		{container{id: "runtime-missing", runtime: "/nonexistent/runtime"}, "/nonexistent/runtime", 0},
		{container{id: "runtime-directory", runtime: "/tmp"}, "/tmp", 0},
		{container{id: "runtime-silent", runtime: runtime("silent", "exit 17")}, "exit status 17", 0},
		{container{id: "runtime-dies", runtime: runtime("dies", "kill -9 $$")}, s.path("bin/dies"), 0},
		{container{id: "runtime-garbage", runtime: runtime("garbage", toLog+`head -c 100000 /dev/urandom >"$log"; exit 1`)}, "OCI runtime create failed", 0},
		{container{id: "runtime-says", runtime: runtime("says", toLog+`echo '{"level":"error","msg":"the moon is full"}' >>"$log"; exit 1`)}, "the moon is full", 0},
		{container{id: "runtime-no-pid", runtime: runtime("no-pid", "exit 0")}, "pid", 0},
		{container{id: "runtime-hangs", runtime: runtime("hangs", "exec sleep 1000")}, "", 3 * time.Second},
		{container{id: "fifo-missing", io: client.IO{Stdout: s.path("io/missing/fifo")}}, s.path("io/missing/fifo"), 0},
		{container{id: "fifo-scheme", io: client.IO{Stdout: "carrier-pigeon:///dev/null"}}, "carrier-pigeon", 0},
		{container{id: "logger-missing", io: client.IO{Stdout: "binary:///nonexistent/logger"}}, "/nonexistent/logger", 0},
	} {
		t.Run(test.id, func(t *testing.T) {
			ctx := limited(t)
			if test.limit != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, harness.Slow(test.limit))
				defer cancel()
			}
			test.script = "sleep 1000"
			began := time.Now()
			_, err := s.create(ctx, test.container)
			t.Logf("class %d, %v, after %v", ttrpc.CodeOf(err), err, time.Since(began).Round(time.Millisecond))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want an error with %q", err, test.want)
			}
			if p, err := s.Get(limited(t), test.id, ""); err == nil {
				t.Errorf("there is a task: %v", p.Status)
			}
			s.forget(t, test.id)
			s.nothingOf(t, test.id)
			for _, e := range sub.Of(test.id, "") {
				if e.Topic == "create" || e.Topic == "start" {
					t.Errorf("it is told: %v", e)
				}
			}
		})
	}
	t.Run("config", func(t *testing.T) { s.brokenConfig(t) })
	s.run(t, container{id: "after", script: "exit 2"})
	if exit, err := s.Wait(limited(t), "after", ""); err != nil || exit.Code != 2 {
		t.Errorf("a good container after all that: code %d, %v; want 2", exit.Code, err)
	}
	s.remove(t, "after", 2)
	s.calm(t)
}

// brokenConfig gives containers a config.json that the daemon passes on and that says nothing, or not what it should. What
// is no JSON object the daemon itself refuses; 2.4.2 leaves its bundle then.
func (s *service) brokenConfig(t *testing.T) {
	for name, spec := range map[string]string{"nothing": "{}", "process": `{"ociVersion": "1.0.2", "process": 5}`, "annotations": `{"annotations": []}`} {
		id := "config-" + name
		s.mu.Lock()
		s.ids = append(s.ids, id)
		s.mu.Unlock()
		if err := s.CreateContainer(limited(t), client.Container{ID: id, Runtime: s.shim, Spec: []byte(spec)}); err != nil {
			t.Fatal(err)
		}
		_, err := s.CreateTask(limited(t), id, noIO, s.mount())
		t.Logf("%s: class %d, %v", name, ttrpc.CodeOf(err), err)
		if err == nil {
			t.Errorf("%s: the container is created", name)
		}
		s.forget(t, id)
		s.nothingOf(t, id)
	}
}

// TestSocketGarbage sends a shim what is no call. It goes on.
func TestSocketGarbage(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	s.run(t, container{id: "garbage", script: "sleep 1000"})
	shim, socket := s.shimOf(t, "garbage"), s.socket("garbage")
	before := private(t, shim)
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	for name, sent := range map[string][]byte{
		"nothing":         nil,
		"half a header":   {0, 0, 0, 9, 0},
		"random bytes":    noise,
		"a huge length":   {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0},
		"a broken call":   {0, 0, 0, 3, 0, 0, 0, 1, 1, 0, 0xff, 0xff, 0xff},
		"an answer":       {0, 0, 0, 0, 0, 0, 0, 1, 2, 0},
		"an unknown type": {0, 0, 0, 0, 0, 0, 0, 1, 0x77, 0},
		"an even stream":  {0, 0, 0, 0, 0, 0, 0, 2, 1, 0},
	} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(harness.Slow(2 * time.Second)))
		_, _ = c.Write(sent)
		n, err := io.Copy(io.Discard, c)
		t.Logf("%s: %d bytes of answer, %v", name, n, err)
		c.Close()
		alive(t, s.direct(t, "garbage"), "garbage")
	}
	t.Run("many", func(t *testing.T) { s.connections(t, socket, 1000) })
	t.Run("stranger", func(t *testing.T) { stranger(t, s, socket) })
	time.Sleep(harness.Slow(2 * time.Second)) // the shim gives back what it needed
	t.Logf("the shim has %d kB of its own, before %d kB", private(t, shim), before)
	s.stop(t, "garbage")
	s.calm(t)
}

// connections makes many at once, each with the beginning of a call.
func (s *service) connections(t *testing.T, socket string, n int) {
	var open []net.Conn
	for range n {
		c, err := net.DialTimeout("unix", socket, harness.Limit(10*time.Second))
		if err != nil {
			t.Errorf("connection %d: %v", len(open), err)
			break
		}
		_, _ = c.Write([]byte{0, 0, 1})
		open = append(open, c)
	}
	alive(t, s.direct(t, "garbage"), "garbage")
	for _, c := range open {
		c.Close()
	}
	alive(t, s.direct(t, "garbage"), "garbage")
}

// stranger connects as another user, to whom a careless administrator has opened the socket.
func stranger(t *testing.T, s *service, socket string) {
	for dir := filepath.Dir(socket); strings.HasPrefix(dir, s.dir); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the socket's mode is %v, %v; want one for its owner only", info.Mode(), err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- errno
			return
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(harness.Limit(5 * time.Second)))
		// A call of Connect without a payload, which gets an answer of some kind from who listens.
		call := []byte{0, 0, 0, 0x20, 0, 0, 0, 1, 1, 0}
		call = append(append(call, 0x0a, 23), "containerd.task.v3.Task"...)
		call = append(append(call, 0x12, 5), "Pids1"...)
		_, _ = c.Write(call)
		n, err := c.Read(make([]byte, 1))
		if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("the shim listens to a stranger: %d bytes of answer, %w", n, err)
		} else {
			err = nil
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	alive(t, s.direct(t, "garbage"), "garbage")
}

// TestStartAction runs the shim's start as no daemon should. It fails, says why, and leaves nothing.
func TestStartAction(t *testing.T) {
	harness.NeedRoot(t)
	shim := compat.Shim(t, newest)
	dir, err := os.MkdirTemp("", "gtstart") //nolint:usetesting // a socket's path has to be shorter than 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bundle := filepath.Join(dir, "bundle")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"ociVersion": "1.0.2"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("long/", 30))
	params := func(socketDir string) []byte {
		b, err := (&bootstrap.BootstrapParams{
			InstanceId: "x", Namespace: "n", ContainerdVersion: "2.4.2", ContainerdGrpcAddress: filepath.Join(dir, "sock"),
			ContainerdTtrpcAddress: filepath.Join(dir, "sock.ttrpc"), SocketDir: &socketDir,
		}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	usual := []string{"-namespace", "n", "-address", filepath.Join(dir, "sock"), "-publish-binary", "/bin/false", "-id", "x", "start"}
	for _, test := range []struct {
		name  string
		stdin []byte
		args  []string
		cwd   string
		want  string
	}{
		{"a long path", params(long), usual, bundle, "long"},
		{"no id", params(filepath.Join(dir, "s")), []string{"-namespace", "n", "-address", filepath.Join(dir, "sock"), "start"}, bundle, "id"},
		{"no namespace", params(filepath.Join(dir, "s")), []string{"-id", "x", "-address", filepath.Join(dir, "sock"), "start"}, bundle, "namespace"},
		{"an id with slashes", params(filepath.Join(dir, "s")), []string{"-namespace", "n", "-id", "../../x", "-address", filepath.Join(dir, "sock"), "start"}, bundle, "id"},
		{"an unknown action", nil, []string{"-namespace", "n", "-id", "x", "dance"}, bundle, "dance"},
		{"delete without a bundle", nil, []string{"-namespace", "n", "-id", "x", "-bundle", filepath.Join(dir, "nowhere"), "delete"}, dir, "nowhere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(20*time.Second))
			defer cancel()
			cmd := exec.CommandContext(ctx, shim, test.args...)
			cmd.Dir, cmd.Stdin = test.cwd, strings.NewReader(string(test.stdin))
			cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+filepath.Join(dir, "sock.ttrpc"))
			out, err := cmd.CombinedOutput()
			t.Logf("%v: %s", err, out)
			if err == nil || !strings.Contains(string(out), test.want) || containsPanic(string(out)) {
				t.Errorf("%v, %q; want an error that has %q", err, out, test.want)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "s", "*"))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
