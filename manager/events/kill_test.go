package events

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// writerDir makes this test binary the writer that TestKilledWriter kills.
const writerDir = "GANTRY_EVENTS_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForEver says on stdout which number each event got, once Forward has returned.
func writeForEver(dir string) error {
	l, err := Open(Config{Dir: dir, MaxEvents: 1024})
	if err != nil {
		return err
	}
	for {
		if err := l.Forward(context.Background(), envelope("default", "/a", make([]byte, rand.IntN(20000)))); err != nil {
			return err
		}
		if _, err := fmt.Println(l.Last()); err != nil {
			return err
		}
	}
}

// An event whose publisher was told that it is kept is there after a kill -9, and the log goes on from it.
func TestKilledWriter(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	last := uint64(0)
	for range 20 {
		writer := exec.Command(self)
		writer.Env = append(os.Environ(), writerDir+"="+dir)
		writer.Stderr = os.Stderr
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		told := make(chan uint64)
		go func() {
			defer close(told)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				n, err := strconv.ParseUint(lines.Text(), 10, 64)
				if err != nil { // half a line is no promise
					return
				}
				told <- n
			}
		}()
		first, ok := <-told
		if !ok || first <= last {
			t.Errorf("the next writer began with %d after %d", first, last)
		}
		last = first
		kill := time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() {
			if err := writer.Process.Kill(); err != nil {
				t.Error(err)
			}
		})
		for n := range told {
			last = n
		}
		kill.Stop()
		if err := writer.Wait(); err == nil {
			t.Error("the writer ended by itself")
		}
		l := openLog(t, Config{Dir: dir, MaxEvents: 1024})
		if l.Last() < last {
			t.Errorf("event %d was told to be kept, the log ends at %d", last, l.Last())
		}
		s := read(t, l, Start{Since: max(1, last)})
		diff(t, []string{fmt.Sprintf("%d /a", last)}, next(t, s, 1))
		s.Close()
		last = l.Last()
		closeLog(t, l)
	}
}
