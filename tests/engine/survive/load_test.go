package survive_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// buildLoad builds the program that asks, for containers, too.
func buildLoad(t *testing.T) string {
	t.Helper()
	program, err := harness.Built(t.TempDir(), "survive-load", func(to string) error {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "./tests/engine/survive/load")
		cmd.Dir = harness.Top()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the load: %w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// counts are what a load has done so far.
type counts struct {
	done, failed int
	slowest      string
}

// load is a process that asks.
type load struct {
	t     *testing.T
	what  string
	stdin io.Closer
	ended chan struct{}
	said  bytes.Buffer // what has failed; whole when it has ended

	mu     sync.Mutex
	counts counts
}

// startLoad starts a load with a command, which writes the lines of the program load.
func startLoad(t *testing.T, what string, cmd *exec.Cmd) *load {
	t.Helper()
	l := &load{t: t, what: what, ended: make(chan struct{})}
	cmd.Stderr = &l.said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		l.read(stdout)
		_ = cmd.Wait() // what it has counted is what it is asked for
		close(l.ended)
	}()
	t.Cleanup(func() { _ = stdin.Close(); <-l.ended })
	return l
}

func (l *load) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var c counts
		if _, err := fmt.Sscan(lines.Text(), &c.done, &c.failed, &c.slowest); err != nil {
			l.t.Errorf("%s: %q: %v", l.what, lines.Text(), err)
		}
		l.mu.Lock()
		l.counts = c
		l.mu.Unlock()
	}
}

func (l *load) now() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// goesOn waits until it has done so much more. It may not be what is replaced that it waits for.
func (l *load) goesOn(when string, more int) {
	l.t.Helper()
	before := l.now()
	if !harness.Until(patience, func() bool { return l.now().done >= before.done+more || l.now().failed > before.failed }) {
		l.t.Errorf("%s: %s: stands still at %+v", when, l.what, l.now())
	}
	if now := l.now(); now.failed > before.failed {
		l.t.Errorf("%s: %s: %d failed", when, l.what, now.failed-before.failed)
	}
}

// end ends it and wants nothing failed.
func (l *load) end(took time.Duration) {
	l.t.Helper()
	_ = l.stdin.Close()
	select {
	case <-l.ended:
	case <-time.After(harness.Limit(3 * patience)):
		l.t.Errorf("%s: does not end", l.what)
		return
	}
	c := l.now()
	l.t.Logf("%s: %d in %.0f s, %d failed, the slowest took %s", l.what, c.done, took.Seconds(), c.failed, c.slowest)
	if c.failed > 0 || c.done == 0 {
		l.t.Errorf("%s: %d done, %d failed:\n%s", l.what, c.done, c.failed, l.said.Bytes())
	}
}
