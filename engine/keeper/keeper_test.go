package keeper

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/logs"
)

func newKeeper(t *testing.T) *Keeper {
	t.Helper()
	k, err := New(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.quit)
	return k
}

func (k *Keeper) mustDo(t *testing.T, r Request, fds ...int) Reply {
	t.Helper()
	reply := k.answer(r, fds)
	if reply.Error != "" {
		t.Fatal(reply.Error)
	}
	return reply
}

// attachPair attaches one end of a pair of sockets, and gives the other.
func attachPair(t *testing.T, k *Keeper, key Key, id string, a Attach) net.Conn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(pair[0]), "ours")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	k.mustDo(t, AttachRequest(key, id, a), pair[1])
	return conn
}

// TestAClientThatTakesNothing is let go; the log, and a client who reads, get everything.
func TestAClientThatTakesNothing(t *testing.T) {
	k := newKeeper(t)
	k.stall = 100 * time.Millisecond
	key := Key{Container: "c1"}
	log := filepath.Join(t.TempDir(), "log")
	paths := k.mustDo(t, OpenRequest(Streams{Key: key, Log: &Log{Driver: logs.JSONFile, Path: log}})).Paths
	stopped := attachPair(t, k, key, "stopped", Attach{Stdout: true, Stderr: true, Mux: true})
	reading := attachPair(t, k, key, "reading", Attach{Stdout: true})
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(reading)
		got <- b
	}()
	out, err := os.OpenFile(paths.Stdout, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcde\n"), 256<<10) // 4 MiB
	if _, err := out.Write(want); err != nil {
		t.Fatal(err)
	}
	out.Close()
	k.mustDo(t, DrainedRequest(key, 20*time.Second))
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("the client who reads got %d bytes, want %d", len(b), len(want))
	}
	if b, _ := io.ReadAll(stopped); len(b) >= len(want) {
		t.Errorf("the client who was let go got all %d bytes", len(b))
	}
	n := 0
	err = logs.Read(t.Context(), logs.JSONFile, log, logs.Query{Tail: -1}, func(e *logs.Entry) error {
		n += len(e.Line)
		return nil
	})
	if err != nil || n != len(want) {
		t.Errorf("%d bytes are logged (%v), want %d", n, err, len(want))
	}
}

// TestManySessions: clients come and go a thousand times; nothing of them stays.
func TestManySessions(t *testing.T) {
	k := newKeeper(t)
	key := Key{Container: "c1"}
	paths := k.mustDo(t, OpenRequest(Streams{Key: key, Stdin: true, Terminal: true})).Paths
	out, err := os.OpenFile(paths.Stdout, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	before := runtime.NumGoroutine()
	for round := range 10 {
		conns := make([]net.Conn, 100)
		for i := range conns {
			conns[i] = attachPair(t, k, key, fmt.Sprint(round, "-", i), Attach{Stdin: true, Stdout: true})
		}
		fmt.Fprint(out, "hello")
		for _, c := range conns {
			b := make([]byte, 5)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
				t.Fatalf("got %q, %v", b, err)
			}
			c.Close()
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		p := k.find(key)
		p.mu.Lock()
		left := len(p.sessions)
		p.mu.Unlock()
		if left == 0 && runtime.NumGoroutine() <= before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions and %d goroutines are left, there were %d", left, runtime.NumGoroutine(), before)
		}
		time.Sleep(5 * time.Millisecond)
	}
	k.mustDo(t, CloseRequest(key))
	if len(k.all()) > 0 {
		t.Error("the process is not forgotten")
	}
}

func TestClientWhoWaitsAndLeaves(t *testing.T) {
	k := newKeeper(t)
	c := attachPair(t, k, Key{Container: "c1"}, "s", Attach{Stdout: true})
	c.Close()
	deadline := time.Now().Add(20 * time.Second)
	for len(k.all()) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the client is not forgotten")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNonBlockingLog(t *testing.T) {
	dir := t.TempDir()
	s, err := openSink(&Log{Driver: logs.JSONFile, Path: dir + "/log", Options: map[string]string{"mode": "non-blocking", "max-buffer-size": "10b"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		s.write([]logs.Entry{{Source: "stdout", Line: []byte("123456")}, {Source: "stdout", Line: []byte("654321")}})
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	// Of each pair, the second does not fit beside the first while that waits.
	if first := strings.Count(string(b), "123456"); first == 0 || strings.Contains(string(b), "654321") {
		t.Errorf("%d lines are logged", strings.Count(string(b), "\n"))
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", logs.MaxLine)
	for _, c := range []struct {
		name string
		in   []string
		want []string // text, and the part's number, * when it is the last
	}{
		{"whole", []string{"a\nb\n"}, []string{"a", "b"}},
		{"in pieces", []string{"a", "b", "\n\nc"}, []string{"ab", "", "c1"}},
		{"long", []string{long + "y\nz\n"}, []string{long + "1", "y2*", "z"}},
		{"exactly long", []string{long, "\n"}, []string{long + "1", "2*"}},
		{"longer", []string{long + long, "end"}, []string{long + "1", long + "2", "end3"}},
	} {
		l := lines{source: "stdout"}
		var got []string
		add := func(list []logs.Entry) {
			for _, e := range list {
				s := string(e.Line)
				if e.Partial != nil {
					s += fmt.Sprint(e.Partial.Ordinal)
					if e.Partial.Last {
						s += "*"
					}
				}
				got = append(got, s)
			}
		}
		for _, in := range c.in {
			add(l.cut(nil, []byte(in)))
		}
		add(l.end(nil))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, c := range []struct {
		in       []string
		want     string
		detached bool
	}{
		{[]string{"hello"}, "hello", false},
		{[]string{"ap", "q", "x"}, "a", true},
		{[]string{"ppq"}, "p", true},
		{[]string{"pxpq"}, "px", true},
		{[]string{"p", "x"}, "px", false},
	} {
		e := escape{keys: []byte("pq")}
		got, detached := "", false
		for _, in := range c.in {
			if detached {
				break
			}
			var out []byte
			out, detached = e.filter([]byte(in))
			got += string(out)
		}
		if got != c.want || detached != c.detached {
			t.Errorf("%q: got %q, %v", c.in, got, detached)
		}
	}
}

func TestKeysThatLeadOut(t *testing.T) {
	k := newKeeper(t)
	for _, key := range []Key{{}, {Container: "../x"}, {Container: ".."}, {Container: "a", Exec: "b/c"}} {
		if reply := k.answer(OpenRequest(Streams{Key: key}), nil); reply.Error == "" {
			t.Errorf("%v is taken", key)
		}
	}
}
