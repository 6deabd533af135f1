package stdio

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// bound is for what must not take for ever; it is no measure of speed.
var bound = harness.Limit(5 * time.Second)

func mkfifo(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openEnd opens a fifo as a client does, without waiting for the shim.
func openEnd(t testing.TB, path string, flag int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func open(t testing.TB, spec Spec) *IO {
	t.Helper()
	o, err := Open(t.Context(), spec, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func start(t testing.TB, o *IO) {
	t.Helper()
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// spawn starts a shell script with the files, in a process group of its own, and the copying.
func spawn(t testing.TB, o *IO, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	in, out, errs := o.Files()
	if in != nil {
		cmd.Stdin = in
	}
	if out != nil {
		cmd.Stdout = out
	}
	if errs != nil {
		cmd.Stderr = errs
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start(t, o)
	return cmd
}

// dup is an end for a test that is the process itself.
func dup(t testing.TB, f *os.File) *os.File {
	t.Helper()
	d, err := nonblockingDup(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func nonblockingDup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "process"), nil
}

// within fails the test when something takes longer than the bound.
func within(t testing.TB, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { do(); close(done) }()
	select {
	case <-done:
	case <-time.After(bound):
		buf := make([]byte, 1<<16)
		t.Fatalf("%s takes longer than %v\n%s", what, bound, buf[:runtime.Stack(buf, true)])
	}
}

func readAll(t testing.TB, r *os.File) string {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(4 * bound))
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

func readN(t testing.TB, r *os.File, n int) string {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(4 * bound))
	b := make([]byte, n)
	if m, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("after %q: %v", b[:m], err)
	}
	return string(b)
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOutputs(t *testing.T) {
	const script = "echo out; echo err >&2; echo more"
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("old"), []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		spec Spec
		want map[string]string
	}{
		"nothing":                       {spec: Spec{}},
		"a file for both":               {Spec{Stdout: "file://" + path("a/b/both"), Stderr: "file://" + path("a/b/both")}, map[string]string{"a/b/both": "out\nerr\nmore\n"}},
		"a file for both, not repeated": {Spec{Stdout: "file://" + path("one")}, map[string]string{"one": "out\nerr\nmore\n"}},
		"two files":                     {Spec{Stdout: "file://" + path("1"), Stderr: "file://" + path("2")}, map[string]string{"1": "out\nmore\n", "2": "err\n"}},
		"an escaped name":               {Spec{Stdout: "file://" + path("a%20b")}, map[string]string{"a b": "out\nerr\nmore\n"}},
		"a plain file gets more":        {Spec{Stdout: path("old")}, map[string]string{"old": "old\nout\nmore\n"}},
		"only stderr":                   {Spec{Stderr: "file://" + path("err")}, map[string]string{"err": "err\n"}},
		"a device":                      {spec: Spec{Stdout: "/dev/null", Stderr: "/dev/null"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, tc.spec)
			if err := spawn(t, o, script).Wait(); err != nil {
				t.Fatal(err)
			}
			within(t, "drain", func() { o.Drain(time.Minute) })
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			for name, want := range tc.want {
				if got := content(t, path(name)); got != want {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestFifos(t *testing.T) {
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
	out, errs := openEnd(t, spec.Stdout, os.O_RDONLY), openEnd(t, spec.Stderr, os.O_RDONLY)
	o := open(t, spec)
	cmd := spawn(t, o, "cat; echo end >&2")
	in := openEnd(t, spec.Stdin, os.O_WRONLY)
	if _, err := in.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	if err := o.CloseStdin(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if got := readAll(t, out); got != "hello" {
		t.Errorf("stdout: %q", got)
	}
	if got := readAll(t, errs); got != "end\n" {
		t.Errorf("stderr: %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	within(t, "drain", func() { o.Drain(time.Minute) })
	for range 2 {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A client goes away and another goes on: for output, and for input until CloseStdin.
func TestClientComesBack(t *testing.T) {
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}
	o := open(t, spec)
	cmd := spawn(t, o, "cat")
	for _, word := range []string{"one", "two"} {
		in, out := openEnd(t, spec.Stdin, os.O_WRONLY), openEnd(t, spec.Stdout, os.O_RDONLY)
		if _, err := in.WriteString(word); err != nil {
			t.Fatal(err)
		}
		if got := readN(t, out, 3); got != word {
			t.Errorf("got %q, want %q", got, word)
		}
		in.Close()
		out.Close()
	}
	if err := o.CloseStdin(); err != nil {
		t.Fatal(err)
	}
	within(t, "the process after the end of its input", func() { _ = cmd.Wait() })
}

// What was written while nobody read is there for the one who comes, if he comes before the task is deleted.
func TestReaderComesLate(t *testing.T) {
	const script = "i=0; while [ $i -lt 8000 ]; do echo $i; i=$((i+1)); done"
	for name, tc := range map[string]struct {
		was    bool // a reader, when the process was started
		script string
		lines  int
	}{
		"for the first time":          {false, script, 8000},
		"again":                       {true, script, 8000},
		"for the first time, to none": {false, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Stdout: mkfifo(t, "out")}
			if tc.was {
				r := openEnd(t, spec.Stdout, os.O_RDONLY)
				defer func() { r.Close() }()
				time.AfterFunc(time.Millisecond, func() { r.Close() })
			}
			o := open(t, spec)
			cmd := spawn(t, o, tc.script)
			within(t, "output that fits into the fifo", func() { _ = cmd.Wait() })
			time.Sleep(50 * time.Millisecond)
			within(t, "open", func() {
				out, err := os.Open(spec.Stdout)
				if err != nil {
					t.Error(err)
					return
				}
				defer out.Close()
				if got := strings.Count(readAll(t, out), "\n"); got != tc.lines {
					t.Errorf("%d lines of %d", got, tc.lines)
				}
			})
			within(t, "drain and close", func() { o.Drain(time.Hour); _ = o.Close() })
		})
	}
}

func TestStdinFromFile(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, bytes.Repeat([]byte("x"), 300000), 0o600); err != nil {
		t.Fatal(err)
	}
	out := in + ".out"
	o := open(t, Spec{Stdin: in, Stdout: "file://" + out})
	if err := spawn(t, o, "wc -c").Wait(); err != nil {
		t.Fatal(err)
	}
	o.Drain(bound)
	if got := strings.TrimSpace(content(t, out)); got != "300000" {
		t.Errorf("the process read %s bytes", got)
	}
}

func TestProcessClosesStdin(t *testing.T) {
	spec := Spec{Stdin: mkfifo(t, "in")}
	o := open(t, spec)
	cmd := spawn(t, o, "exit 0")
	in := openEnd(t, spec.Stdin, os.O_WRONLY)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !harness.Until(bound, func() bool { _, err := in.WriteString("x"); return errors.Is(err, unix.EPIPE) }) {
		t.Error("a client can write for ever to a process that reads no more")
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

// random is content that shows every lost, doubled or exchanged piece.
func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestContentIsIntact(t *testing.T) {
	data := random(64 << 20)
	for name, tc := range map[string]struct {
		write, size int
		pause       time.Duration // of the reader, every eighth time
	}{
		"large writes": {1 << 20, len(data), 0},
		"odd writes":   {page + 1, len(data), 0},
		"small writes": {100, 4 << 20, 0},
		"slow reader":  {1 << 16, 4 << 20, 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			data := data[:tc.size]
			spec := Spec{Stdout: mkfifo(t, "out")}
			r := openEnd(t, spec.Stdout, os.O_RDONLY)
			o := open(t, spec)
			_, out, _ := o.Files()
			w := dup(t, out)
			start(t, o)
			go func() {
				writePieces(w, data, tc.write)
				o.Drain(time.Minute)
				_ = o.Close()
			}()
			if want := sha256.Sum256(data); sum(r, tc.pause) != want {
				t.Error("the reader got something else")
			}
		})
	}
}

func writePieces(w *os.File, data []byte, size int) {
	defer w.Close()
	for len(data) > 0 {
		n, err := w.Write(data[:min(size, len(data))])
		if err != nil {
			return
		}
		data = data[n:]
	}
}

func sum(r io.Reader, pause time.Duration) (s [sha256.Size]byte) {
	h, buf := sha256.New(), make([]byte, 32<<10)
	for i := 0; ; i++ {
		if i%8 == 0 {
			time.Sleep(pause)
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if err != nil {
			return [sha256.Size]byte(h.Sum(nil))
		}
	}
}

func TestStdinIsIntact(t *testing.T) {
	data := random(8 << 20)
	spec := Spec{Stdin: mkfifo(t, "in")}
	o := open(t, spec)
	in, _, _ := o.Files()
	r := dup(t, in)
	start(t, o)
	w := openEnd(t, spec.Stdin, os.O_WRONLY)
	go func() {
		_ = o.CloseStdin()
		_, _ = w.Write(data)
		w.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the process got %d of %d bytes, or others: %v", len(got), len(data), err)
	}
}

func TestOpenFails(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	fifo := mkfifo(t, "fifo")
	for name, tc := range map[string]struct {
		spec Spec
		want string
	}{
		"no stdin":         {Spec{Stdin: missing, Stdout: fifo}, "stdin: open " + missing},
		"no stdout":        {Spec{Stdin: fifo, Stdout: missing}, "stdout: stat " + missing},
		"no stderr":        {Spec{Stdin: fifo, Stdout: fifo, Stderr: missing}, "stderr: stat " + missing},
		"no stdout of tty": {Spec{Stdin: fifo, Stdout: missing, Terminal: true}, "stdout: stat " + missing},
		"scheme":           {Spec{Stdin: fifo, Stdout: "ftp:///x"}, `stdout: ftp:///x: unknown scheme "ftp"`},
		"stderr's scheme":  {Spec{Stdout: fifo, Stderr: "ftp:///x"}, `stderr: ftp:///x: unknown scheme "ftp"`},
		"relative file":    {Spec{Stdout: "file://x/y"}, "stdout: file://x/y: no absolute path follows file://"},
		"logger of stderr": {Spec{Stdout: fifo, Stderr: "binary:///x"}, "stderr: binary:///x: a logger is named in stdout, and takes both"},
		"no logger":        {Spec{Stdin: fifo, Stdout: "binary://" + missing}, "stdout: logger " + missing},
		"no logger of tty": {Spec{Stdin: fifo, Stdout: "binary://" + missing, Terminal: true}, "stdout: logger " + missing},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			before := descriptors(t)
			o, err := Open(t.Context(), tc.spec, dir)
			if o != nil || err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
			if after := descriptors(t); after > before {
				t.Errorf("%d descriptors are left behind", after-before)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%v is left behind", left)
			}
		})
	}
}

func TestPipesAreOwned(t *testing.T) {
	harness.NeedRoot(t)
	o := open(t, Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err"), UID: 1234, GID: 4321})
	in, out, errs := o.Files()
	for _, f := range []*os.File{in, out, errs} {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Uid != 1234 || st.Gid != 4321 || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			t.Errorf("owner %d:%d, mode %o, %v", st.Uid, st.Gid, st.Mode, err)
		}
	}
}

// A full disk loses output; it stops neither the process nor what is written later.
func TestFileIsFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /dev/full")
	}
	o := open(t, Spec{Stdout: "/dev/full"})
	cmd := spawn(t, o, "head -c 1000000 /dev/zero")
	var err error
	within(t, "a process whose log is on a full disk", func() { err = cmd.Wait() })
	if err != nil {
		t.Errorf("the process: %v", err)
	}
	within(t, "drain", func() { o.Drain(time.Minute) })
	if err = o.Close(); !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "stdout: write /dev/full") {
		t.Errorf("close says %v", err)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// Idle streams are a goroutine each, and nothing stays of what is closed.
func TestNothingIsLeft(t *testing.T) {
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
	r, e := openEnd(t, spec.Stdout, os.O_RDONLY), openEnd(t, spec.Stderr, os.O_RDONLY)
	defer r.Close()
	defer e.Close()
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	dir := t.TempDir()
	for i := range 300 {
		o, err := Open(context.Background(), spec, dir)
		if err != nil {
			t.Fatal(err)
		}
		if i%3 > 0 {
			start(t, o)
			if got := runtime.NumGoroutine(); got > goroutines+3 {
				t.Fatalf("%d goroutines for three streams", got-goroutines)
			}
		}
		if i%3 > 1 {
			o.Drain(time.Minute)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		none, err := Open(context.Background(), Spec{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		start(t, none)
		if !harness.Until(bound, func() bool { return runtime.NumGoroutine() <= goroutines }) {
			t.Fatalf("%d goroutines for no stream", runtime.NumGoroutine()-goroutines)
		}
		_ = none.Close()
	}
	if now := descriptors(t); now > fds {
		t.Errorf("%d descriptors are left", now-fds)
	}
}
