package faults_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// deletes is how long the deletion of something that has ended may take on a machine that is busy with other tests.
// What it takes is logged.
const deletes = 5 * time.Second

// pipes makes the fifos of a process.
func (s *service) pipes(t *testing.T, name string) client.IO {
	t.Helper()
	io := client.IO{Stdout: s.path("io/" + name + "-out"), Stderr: s.path("io/" + name + "-err")}
	for _, path := range []string{io.Stdout, io.Stderr} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return io
}

// open opens the reading ends, which does not wait for a writer.
func open(t *testing.T, io client.IO) (out, err *os.File) {
	t.Helper()
	var files [2]*os.File
	for i, path := range []string{io.Stdout, io.Stderr} {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files[i] = f
	}
	return files[0], files[1]
}

// chatter writes more than all pipes between it and a reader hold, and goes on.
const chatter = "while :; do echo 0123456789012345678901234567890123456789; done"

// TestReaderGone has the reader of the output go away or take nothing, while the container writes. It is killed and
// deleted as fast as if it had been silent.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	for _, test := range []struct {
		name   string
		reader func(t *testing.T, out *os.File)
	}{
		{"gone", func(_ *testing.T, out *os.File) { _, _ = io.ReadFull(out, make([]byte, 1000)); out.Close() }},
		{"never", func(*testing.T, *os.File) {}},
		{"stops", func(_ *testing.T, out *os.File) { _, _ = io.ReadFull(out, make([]byte, 1<<20)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := "reader-" + test.name
			io := s.pipes(t, test.name)
			out, stderr := open(t, io)
			s.run(t, container{id: id, script: chatter, io: io})
			test.reader(t, out)
			stderr.Close()
			time.Sleep(harness.Slow(500 * time.Millisecond)) // everything fills
			s.quick(t, id, func() { s.stop(t, id) })
		})
	}
}

// quick wants something to be done soon, and logs how long it took.
func (s *service) quick(t *testing.T, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	took := time.Since(began)
	t.Logf("%s: %v", what, took.Round(time.Millisecond))
	if took > harness.Limit(deletes) {
		t.Errorf("%s takes %v, more than %v", what, took, harness.Limit(deletes))
	}
}

// TestReaderSlow reads slowly what a container has written that ends meanwhile, with the deletion under way: the
// reader gets all of it.
func TestReaderSlow(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	io := s.pipes(t, "slow")
	out, _ := open(t, io)
	s.run(t, container{id: "slow", script: "seq 1 30000", io: io})
	sum := make(chan string, 1)
	go func() { sum <- digest(out, 2048, 10*time.Millisecond) }()
	if exit, err := s.Wait(limited(t), "slow", ""); err != nil || exit.Code != 0 {
		t.Errorf("code %d, %v", exit.Code, err)
	}
	s.remove(t, "slow", 0)
	if got, want := <-sum, sequence(30000); got != want {
		t.Errorf("the reader got %s, want %s", got, want)
	}
}

// digest reads to the end, so much at a time and with pauses, and returns a checksum and the number of bytes.
func digest(f *os.File, size int, pause time.Duration) string {
	b := make([]byte, size)
	h, total := sha256.New(), 0
	for {
		n, err := f.Read(b)
		_, _ = h.Write(b[:n])
		total += n
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return summary(h, total)
		}
		time.Sleep(pause)
	}
}

func summary(h hash.Hash, n int) string { return fmt.Sprintf("%d bytes with %x", n, h.Sum(nil)) }

// sequence is the digest of what `seq 1 n` prints.
func sequence(n int) string {
	h, total := sha256.New(), 0
	for i := 1; i <= n; i++ {
		k, _ := fmt.Fprintf(h, "%d\n", i)
		total += k
	}
	return summary(h, total)
}

// TestNothingLost has 20 containers at once each write a few megabytes and end; all arrives.
func TestNothingLost(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	const n, lines = 20, 300_000
	want := sequence(lines)
	sums := make(chan string, n)
	for i := range n {
		id := fmt.Sprintf("much-%d", i)
		io := s.pipes(t, id)
		out, _ := open(t, io)
		s.run(t, container{id: id, script: fmt.Sprintf("seq 1 %d", lines), io: io})
		go func() { sums <- digest(out, 64<<10, 0) }()
	}
	for i := range n {
		id := fmt.Sprintf("much-%d", i)
		if exit, err := s.Wait(limited(t), id, ""); err != nil || exit.Code != 0 {
			t.Errorf("%s: code %d, %v", id, exit.Code, err)
		}
		s.remove(t, id, 0)
	}
	for range n {
		if got := <-sums; got != want {
			t.Errorf("a reader got %s, want %s", got, want)
		}
	}
}

// TestLogger has loggers that misbehave. A container whose logger is not ready does not start; one whose logger dies
// or does not want to end is deleted all the same.
func TestLogger(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	logger := func(name, script string) client.IO {
		url := "binary://" + s.write("bin/"+name, "#!/bin/sh\n"+script+"\n", 0o755)
		return client.IO{Stdout: url, Stderr: url}
	}
	t.Run("good", func(t *testing.T) {
		log := s.path("io/log")
		s.run(t, container{id: "good", script: "seq 1 100000", io: logger("good", "exec 5>&-; cat <&3 >"+log)})
		if exit, err := s.Wait(limited(t), "good", ""); err != nil || exit.Code != 0 {
			t.Errorf("code %d, %v", exit.Code, err)
		}
		s.quick(t, "delete", func() { s.remove(t, "good", 0) })
		f, err := os.Open(log)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got, want := digest(f, 64<<10, 0), sequence(100000); got != want {
			t.Errorf("the logger got %s, want %s", got, want)
		}
	})
	for _, test := range []struct{ name, logger string }{
		{"dies", "exec 5>&-; sleep 0.2; exit 1"},
		{"reads-nothing", "exec 5>&-; exec sleep 1000"},
		{"will-not-end", "trap '' TERM; exec 5>&-; cat <&3 >/dev/null; while :; do sleep 1; done"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.run(t, container{id: test.name, script: chatter, io: logger(test.name, test.logger)})
			time.Sleep(harness.Slow(500 * time.Millisecond))
			s.quick(t, "kill and delete", func() { s.stop(t, test.name) })
		})
	}
	for _, test := range []struct{ name, logger string }{
		{"never-ready", "exec sleep 1000"},
		{"fails", "exit 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			pid, err := s.create(limited(t), container{id: test.name, script: "true", io: logger(test.name, test.logger)})
			took := time.Since(began).Round(time.Millisecond)
			t.Logf("create: pid %d, %v, after %v", pid, err, took)
			if took > harness.Limit(30*time.Second) {
				t.Error("it is the caller's patience that ends the call")
			}
			if test.name == "fails" { // its end closes the file by which it would say that it is ready
				if err == nil {
					s.stop(t, test.name)
					return
				}
			} else if err == nil {
				t.Error("the container is created")
			}
			s.forget(t, test.name)
			s.nothingOf(t, test.name)
		})
	}
}

// TestOrphan has a process end whose child holds the output open.
func TestOrphan(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	shared := func(spec *specs.Spec) {
		var list []specs.LinuxNamespace
		for _, n := range spec.Linux.Namespaces {
			if n.Type != specs.PIDNamespace {
				list = append(list, n)
			}
		}
		spec.Linux.Namespaces = list
	}
	for _, test := range []struct {
		name string
		spec func(*specs.Spec)
	}{{"own", nil}, {"shared", shared}} {
		t.Run(test.name, func(t *testing.T) {
			io := s.pipes(t, test.name)
			out, _ := open(t, io)
			got := make(chan string, 1)
			id := "orphan-" + test.name
			s.run(t, container{id: id, script: "sleep 1000 & setsid sleep 1000 & echo started; exit 4", io: io, spec: test.spec})
			go func() { got <- text(out) }()
			if exit, err := s.Wait(limited(t), id, ""); err != nil || exit.Code != 4 {
				t.Errorf("code %d, %v; want 4", exit.Code, err)
			}
			s.quick(t, "delete", func() { s.remove(t, id, 4) })
			if got := <-got; got != "started\n" {
				t.Errorf("the reader got %q", got)
			}
		})
	}
	t.Run("exec", func(t *testing.T) { s.orphanOfExec(t) })
}

func (s *service) orphanOfExec(t *testing.T) {
	s.run(t, container{id: "orphan-exec", script: "sleep 1000"})
	io := s.pipes(t, "exec")
	out, _ := open(t, io)
	got := make(chan string, 1)
	if err := s.Exec(limited(t), "orphan-exec", "e", process("sleep 1000 & echo started; exit 4"), io); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(limited(t), "orphan-exec", "e"); err != nil {
		t.Fatal(err)
	}
	go func() { got <- text(out) }()
	if exit, err := s.Wait(limited(t), "orphan-exec", "e"); err != nil || exit.Code != 4 {
		t.Errorf("code %d, %v; want 4", exit.Code, err)
	}
	s.quick(t, "delete", func() {
		if exit, err := s.Delete(limited(t), "orphan-exec", "e"); err != nil || exit.Code != 4 {
			t.Errorf("delete: code %d, %v; want 4", exit.Code, err)
		}
	})
	s.stop(t, "orphan-exec")
	if got := <-got; got != "started\n" {
		t.Errorf("the reader got %q", got)
	}
}

// text reads to the end.
func text(f *os.File) string {
	var b strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := f.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			return b.String()
		}
	}
}
