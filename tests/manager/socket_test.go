package manager_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// preface is what an HTTP/2 client says first.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// TestGarbage writes what is no gRPC to both sockets, on many connections at the same time. The manager answers all the
// while, and has no more files open afterwards than before.
func TestGarbage(t *testing.T) {
	s := start(t)
	for _, name := range []string{"sock", "sock.ttrpc"} {
		info, err := os.Stat(s.path(name))
		if err != nil || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: mode %v, %v; want that others may not connect", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(s.path("sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise) // which never fails
	before := s.open(t)
	var wg sync.WaitGroup
	for _, name := range []string{"sock", "sock.ttrpc"} {
		for _, text := range [][]byte{
			nil,
			{0},
			noise, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte(preface), append([]byte(preface), noise...),
			bytes.Repeat([]byte{0xff}, 100_000), make([]byte, 100_000), []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
			// A frame of settings of 16 MB; frames without end of no stream; a ttrpc message of 4 GB.
			[]byte(preface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00"), append([]byte(preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), bytes.Repeat([]byte("\x00\x00\x00\x01\x04\x00\x00\x00\x01"), 10000)...),
			{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0},
			append([]byte{0, 0, 0, 4, 0, 0, 0, 1, 1, 0}, noise...),
		} {
			for range 8 {
				wg.Go(func() { babbleAt(t, s.path(name), text) })
			}
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for n := 0; ; n++ {
		if err := s.Version(limited(t)); err != nil {
			t.Errorf("while there is garbage: %v", err)
		}
		select {
		case <-done:
		default:
			continue
		}
		t.Logf("%d calls were answered between", n)
		break
	}
	if !harness.Until(60*time.Second, func() bool { return s.open(t) <= before+8 }) { // connections of clients that wait for another call
		t.Errorf("%d files are open; before, %d were", s.open(t), before)
	}
	s.run(t, container{id: "garbage-1", script: "sleep 1000"})
	s.stop(t, "garbage-1")
}

// babbleAt writes, and reads a little of what comes.
func babbleAt(t *testing.T, socket string, text []byte) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // of a socket, it can't fail
	_, _ = c.Write(text)                               // it may be cut off
	_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.CopyN(io.Discard, c, 100_000)
}

// open is how many files the manager has open.
func (s *subject) open(t *testing.T) int {
	t.Helper()
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		if b, err := os.ReadFile(p); err == nil && strings.HasSuffix(string(b), "\x00--config\x00"+s.path("config.toml")+"\x00") {
			return len(names(t, filepath.Join(filepath.Dir(p), "fd")))
		}
	}
	t.Error("no manager runs")
	return 0
}
