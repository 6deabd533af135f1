package stdio

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/outlive"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// limit is long enough for everything.
const limit = 10 * time.Second

// TestMain is the keeper process, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == keeper.Argument {
		os.Exit(keeper.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// find starts a keeper in a folder of its own, and ends it with the test.
func find(t *testing.T, dir string) *Keeper {
	t.Helper()
	k, err := FindWith(t.Context(), Starter{Dir: dir, Program: []string{os.Args[0]}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Disconnect)
	return k
}

// folder is the state of a keeper, which is ended with the test.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		if pid := keeperPid(dir); pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return dir
}

// keeperPid asks who serves the socket; zero when nobody does.
func keeperPid(dir string) int {
	conn, err := net.Dial("unix", keeper.Socket(dir))
	if err != nil {
		return 0
	}
	defer conn.Close()
	c := &connection{wire: outlive.NewWire(conn.(*net.UnixConn))}
	hello, err := c.hello()
	if err != nil {
		return 0
	}
	return hello.Pid
}

// fake holds the ends of a process's FIFOs as a shim does: both, so that nothing breaks when the keeper dies.
type fake struct {
	out, err, in *os.File
	keep         []*os.File
}

func run(t *testing.T, io tasks.IO) *fake {
	t.Helper()
	f := &fake{}
	open := func(path string, flags int) *os.File {
		file, err := os.OpenFile(path, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	for path, end := range map[string]**os.File{io.Stdout: &f.out, io.Stderr: &f.err} {
		if path != "" {
			f.keep = append(f.keep, open(path, os.O_RDONLY|unix.O_NONBLOCK))
			*end = open(path, os.O_WRONLY)
		}
	}
	if io.Stdin != "" {
		f.in = open(io.Stdin, os.O_RDONLY|unix.O_NONBLOCK)
		f.keep = append(f.keep, open(io.Stdin, os.O_WRONLY))
	}
	t.Cleanup(f.exit)
	return f
}

// closeStdin is what a shim does when the manager says that no more input comes.
func (f *fake) closeStdin() {
	f.keep[len(f.keep)-1].Close()
}

func (f *fake) exit() {
	for _, file := range append(f.keep, f.out, f.err, f.in) {
		if file != nil {
			file.Close()
		}
	}
}

// client is the two ends of a client's connection: ours, and the one that an engine has.
func client(t *testing.T) (*net.UnixConn, net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	_ = ours.SetDeadline(time.Now().Add(30 * time.Second))
	return ours.(*net.UnixConn), theirs
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logged are the lines of a json-file log, by stream, without one that is being written.
func logged(t *testing.T, path string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(string(must[[]byte](t)(os.ReadFile(path)))) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var e struct{ Log, Stream string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[e.Stream] += e.Log
	}
	return got
}

func jsonLog(dir string) *Log {
	return &Log{Driver: "json-file", Path: filepath.Join(dir, "c-json.log")}
}

func TestOutputIsLoggedAndDrained(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1"}
	io := must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: key, Log: jsonLog(dir)}))
	p := run(t, io)
	fmt.Fprint(p.out, "one\ntwo\n")
	fmt.Fprint(p.err, "three\nno newline")
	p.exit()
	check(t, k.Drained(t.Context(), key, limit))
	want := map[string]string{"stdout": "one\ntwo\n", "stderr": "three\nno newline"}
	if diff := cmp.Diff(want, logged(t, dir+"/c-json.log")); diff != "" {
		t.Error(diff)
	}
	check(t, k.Close(t.Context(), key))
	left := must[[]string](t)(filepath.Glob(dir + "/c1*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProcessThatNeverStarted(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1"}
	must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: key, Stdin: true, Log: jsonLog(dir)}))
	check(t, k.Drained(t.Context(), key, limit))
	check(t, k.Close(t.Context(), key))
}

func TestDrainedEndsThoughAChildHoldsThePipe(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1", Exec: "e1"}
	io := must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: key}))
	p := run(t, io)
	fmt.Fprint(p.out, "x")
	check(t, k.Drained(t.Context(), key, 50*time.Millisecond))
}

// TestAttachBeforeStart is the order of docker run: attach, then start; input that ended before there was a process.
func TestAttachBeforeStart(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1"}
	ours, theirs := client(t)
	ended := must[<-chan Ended](t)(k.Attach(t.Context(), key,
		Attach{Stdin: true, Stdout: true, Stderr: true, Mux: true, Early: []byte("early ")}, theirs))
	fmt.Fprint(ours, "input")
	check(t, ours.CloseWrite())

	fifos := must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: key, Stdin: true, StdinOnce: true, Log: jsonLog(dir)}))
	p := run(t, fifos)
	n := <-k.Notices()
	if want := (Notice{Key: key, StdinClosed: true}); n != want {
		t.Fatalf("got %v, want %v", n, want)
	}
	p.closeStdin()
	if got := string(must[[]byte](t)(io.ReadAll(p.in))); got != "early input" {
		t.Errorf("the process read %q", got)
	}
	fmt.Fprint(p.out, "hello")
	// A frame for each write: wait for the first, so that the order is known.
	head := make([]byte, 13)
	must[int](t)(io.ReadFull(ours, head))
	fmt.Fprint(p.err, "world")
	p.exit()
	check(t, k.Drained(t.Context(), key, limit))
	rest := must[[]byte](t)(io.ReadAll(ours))
	want := "\x01\x00\x00\x00\x00\x00\x00\x05hello\x02\x00\x00\x00\x00\x00\x00\x05world"
	if got := string(head) + string(rest); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if e := <-ended; e.Detached {
		t.Error("told as detached")
	}
}

func TestDetachKeys(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1"}
	fifos := must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: key, Stdin: true, StdinOnce: true, Terminal: true}))
	p := run(t, fifos)
	ours, theirs := client(t)
	ended := must[<-chan Ended](t)(k.Attach(t.Context(), key,
		Attach{Stdin: true, Stdout: true, DetachKeys: []byte{16, 17}}, theirs))
	fmt.Fprint(ours, "a\x10b\x10\x10\x11never")
	if e := <-ended; !e.Detached {
		t.Error("not told as detached")
	}
	if got := string(must[[]byte](t)(io.ReadAll(ours))); got != "" {
		t.Errorf("got %q", got)
	}
	p.closeStdin()
	got := make([]byte, 4)
	must[int](t)(io.ReadFull(p.in, got))
	if string(got) != "a\x10b\x10" {
		t.Errorf("the process read %q", got)
	}
	select {
	case n := <-k.Notices():
		t.Errorf("a detached client ended the input: %v", n)
	default:
	}
}

// TestEngineIsReplaced: the engine's connection ends, sessions and log go on, the next engine is told what happened.
func TestEngineIsReplaced(t *testing.T) {
	dir := folder(t)
	first := find(t, dir)
	key := Key{Container: "c1"}
	fifos := must[tasks.IO](t)(first.Open(t.Context(), Streams{Key: key, Stdin: true, StdinOnce: true, Log: jsonLog(dir)}))
	p := run(t, fifos)
	ours, theirs := client(t)
	must[<-chan Ended](t)(first.Attach(t.Context(), key, Attach{Stdin: true, Stdout: true}, theirs))
	first.Disconnect()

	fmt.Fprint(p.out, "while away\n")
	buf := make([]byte, len("while away\n"))
	must[int](t)(io.ReadFull(ours, buf))
	fmt.Fprint(ours, "input")
	check(t, ours.CloseWrite())

	second := find(t, dir)
	if n := <-second.Notices(); !n.StdinClosed || n.Key != key {
		t.Errorf("got %v", n)
	}
	again := must[tasks.IO](t)(second.Open(t.Context(), Streams{Key: key, Stdin: true, StdinOnce: true, Log: jsonLog(dir)}))
	if diff := cmp.Diff(fifos, again); diff != "" {
		t.Error(diff)
	}
	p.closeStdin()
	if got := string(must[[]byte](t)(io.ReadAll(p.in))); got != "input" {
		t.Errorf("the process read %q", got)
	}
	fmt.Fprint(p.out, "after\n")
	p.exit()
	check(t, second.Drained(t.Context(), key, limit))
	if got := string(must[[]byte](t)(io.ReadAll(ours))); got != "after\n" {
		t.Errorf("the client got %q", got)
	}
	if got := logged(t, dir+"/c-json.log")["stdout"]; got != "while away\nafter\n" {
		t.Errorf("logged %q", got)
	}
}

// TestKeeperIsKilled: the engine starts another one and opens the streams again; what was written is in the log.
func TestKeeperIsKilled(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1"}
	p := run(t, must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: key, Log: jsonLog(dir)})))
	const lines = 2000
	for i := range lines {
		fmt.Fprintf(p.out, "line %d\n", i)
		if i%500 == 250 {
			waitFor(t, func() bool {
				return strings.HasSuffix(logged(t, dir+"/c-json.log")["stdout"], fmt.Sprintf("line %d\n", i))
			})
			check(t, unix.Kill(keeperPid(dir), unix.SIGKILL))
		}
	}
	p.exit()
	check(t, k.Drained(t.Context(), key, limit))
	var want bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if got := logged(t, dir+"/c-json.log")["stdout"]; got != want.String() {
		t.Errorf("%d bytes are logged, want %d", len(got), want.Len())
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it never happened")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
