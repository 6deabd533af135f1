package manager_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// badShim is a shim that does not get as far as to serve.
type badShim struct {
	name, start, end string // what its start does, and its delete; $SOCKET is where a server of the test listens
	server           func(net.Conn)
	words            string // that must be in the error
}

var badShims = []badShim{
	{name: "fails", start: "echo these are my words >&2; exit 3", end: "exit 3", words: "these are my words"},
	{name: "hangs", start: "exec sleep 1000", end: "exec sleep 1000"},
	{name: "forks", start: "sleep 1000 & echo $! >&2; exit 3", end: "exit 0"},
	{name: "silent", start: "exit 0", end: "exit 0"},
	{name: "chatty", start: "head -c 20000000 /dev/zero", end: "head -c 20000000 /dev/zero"},
	{name: "noisy", start: "head -c 20000000 /dev/zero >&2; exit 1", end: "head -c 20000000 /dev/zero >&2"},
	{name: "garbage", start: `printf '\377\001\200\000garbage'`, end: `printf '\377\001\200\000garbage'`},
	{name: "nobody", start: "printf unix://$SOCKET.none", end: "exit 0"},
	{name: "elsewhere", start: "printf tcp://127.0.0.1:9", end: "exit 0"},
	{name: "smoke", start: `printf '{"version":3,"address":"unix://%s","protocol":"smoke"}' $SOCKET`, end: "exit 0", server: mute},
	{name: "future", start: `printf '{"version":99,"address":"unix://%s","protocol":"ttrpc"}' $SOCKET`, end: "exit 0", server: mute},
	{name: "mute", start: "printf unix://$SOCKET", end: "exit 0", server: mute},
	{name: "mute3", start: `printf '{"version":3,"address":"unix://%s","protocol":"ttrpc"}' $SOCKET`, end: "exec sleep 1000", server: mute},
	{name: "babbles", start: "printf unix://$SOCKET", end: "exit 0", server: babble},
	{name: "endless", start: "printf unix://$SOCKET", end: "exit 0", server: endless},
	{name: "hangsup", start: "printf unix://$SOCKET", end: "exit 0", server: func(c net.Conn) { c.Close() }},
}

// mute reads and says nothing.
func mute(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// babble says what is no ttrpc.
func babble(c net.Conn) {
	_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
	mute(c)
}

// endless begins a message that has no end: its head says four gigabytes.
func endless(c net.Conn) {
	_, _ = c.Write([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 2, 0})
	mute(c)
}

// TestBadShims creates tasks under shims that can't be started. The create ends with an error, not later than its client
// wants to wait; nothing is left, and the manager goes on.
func TestBadShims(t *testing.T) {
	s := start(t)
	for _, b := range badShims {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			if upstream() && b.name == "forks" {
				t.Skip("containerd 2.4.2 waits for what such a shim has started, and leaves it")
			}
			socket := s.path(b.name + ".sock")
			if b.server != nil {
				serve(t, socket, b.server)
			}
			script := fmt.Sprintf("#!/bin/sh\nSOCKET=%s\nfor action; do :; done\ncase $action in\nstart) %s;;\ndelete) %s;;\nesac\n", socket, b.start, b.end)
			if err := os.WriteFile(s.path("bin/containerd-shim-"+b.name+"-v2"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, again := range []string{"", "-again"} {
				b.try(t, s, "bad-"+b.name+again)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		for i := range 10 {
			id := fmt.Sprintf("good-%d", i)
			s.run(t, container{id: id, script: "sleep 1000"})
			s.stop(t, id)
		}
	})
}

func (b badShim) try(t *testing.T, s *subject, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Slow(6*time.Second))
	_, err := s.create(ctx, container{id: id, script: "true", runtime: "io.containerd." + b.name + ".v2", own: true})
	cancel()
	if err == nil || !strings.Contains(err.Error(), b.words) {
		t.Errorf("create: %v; want an error with %q", err, b.words)
	}
	t.Logf("create: %.300v", err)
	if n := len(fmt.Sprint(err)); n > 16<<10 {
		t.Errorf("create: an error of %d bytes", n)
	}
	if ttrpc.CodeOf(err) == ttrpc.Unknown && !upstream() {
		t.Errorf("create: %.300v: of no class", err)
	}
	if p, err := s.Get(limited(t), id, ""); err == nil {
		t.Errorf("there is a task: %v", p)
	}
	s.nothingOf(t, id)
	s.forget(t, id)
}

// TestUnknownShims names runtimes that there are not.
func TestUnknownShims(t *testing.T) {
	s := start(t)
	if err := os.WriteFile(s.path("bin/containerd-shim-plain-v2"), []byte("no program\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{
		"io.containerd.nosuch.v2", "nosuch", "", ".", "..", "io.containerd.plain.v2", "/nonexistent/shim", "relative/shim", s.daemon.Dir,
		"io.containerd.../../bin/sh.v2", "io.containerd." + strings.Repeat("x", 5000) + ".v2", "io.containerd.a b.v2", "io.containerd.a\x00b.v2",
	} {
		id := fmt.Sprintf("unknown-%d", i)
		if name == "" {
			continue // which is the default
		}
		_, err := s.create(limited(t), container{id: id, script: "true", runtime: name, own: true})
		if code := ttrpc.CodeOf(err); code != ttrpc.NotFound && code != ttrpc.InvalidArgument && !(upstream() && err != nil) {
			t.Errorf("runtime %.40q: create ends with class %d, %.300v", name, code, err)
		}
		t.Logf("runtime %.40q: %.200v", name, err)
		s.nothingOf(t, id)
		_ = s.DeleteContainer(limited(t), id) // some names are refused before
	}
}

// serve listens until the test ends.
func serve(t *testing.T, socket string, each func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				each(c)
			}()
		}
	}()
}
