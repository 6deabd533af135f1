package stdio

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// A reader that takes nothing does not hold up a delete.
func TestDrainWithoutReader(t *testing.T) {
	for name, reader := range map[string]func(t *testing.T, path string){
		"never there": func(*testing.T, string) {},
		"gone": func(t *testing.T, path string) {
			r := openEnd(t, path, os.O_RDONLY)
			t.Cleanup(func() { r.Close() })
			time.AfterFunc(100*time.Millisecond, func() { r.Close() })
		},
		"stopped": func(t *testing.T, path string) {
			cmd := exec.Command("cat", path)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
			reader(t, spec.Stdout)
			o := open(t, spec)
			cmd := spawn(t, o, "yes & yes >&2")
			time.Sleep(300 * time.Millisecond) // the fifos are full, or what follows is easier still
			if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			within(t, "drain and close", func() { o.Drain(time.Hour); _ = o.Close() })
		})
	}
}

// An orphan holds the pipe open: what was written before is copied, and nobody waits for its end.
func TestDrainWithOrphan(t *testing.T) {
	for name, tc := range map[string]struct {
		orphan string
		pause  time.Duration // of the reader
	}{
		"silent":                    {"sleep 60", 0},
		"talking":                   {"while sleep 0.01; do echo orphan; done", 0},
		"shouting":                  {"yes orphan", 0},
		"shouting at a slow reader": {"yes orphan", time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Stdout: mkfifo(t, "out")}
			r := openEnd(t, spec.Stdout, os.O_RDONLY)
			o := open(t, spec)
			cmd := spawn(t, o, "echo $$; echo before; exec setsid sh -c '"+tc.orphan+"' & echo $!")
			got := make(chan string)
			go func() {
				var head [1000]byte
				n, _ := io.ReadFull(slowly{r, tc.pause}, head[:])
				_, _ = io.Copy(io.Discard, slowly{r, tc.pause})
				got <- string(head[:n])
			}()
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // for the orphan to begin
			within(t, "drain and close", func() { o.Drain(time.Hour); _ = o.Close() })
			out := <-got
			if !strings.Contains(out, "before\n") {
				t.Errorf("the reader got %.100q", out)
			}
			for line := range strings.SplitSeq(out, "\n") {
				if pid, err := strconv.Atoi(line); err == nil && pid != cmd.Process.Pid {
					_ = unix.Kill(-pid, unix.SIGKILL)
				}
			}
		})
	}
}

// slowly is a reader that takes little at a time.
type slowly struct {
	r     io.Reader
	pause time.Duration
}

func (s slowly) Read(b []byte) (int, error) {
	time.Sleep(s.pause)
	return s.r.Read(b[:min(len(b), page)])
}

// While a reader takes nothing, the stream waits: with nothing in hand, and without looking again and again.
func TestFullIsIdle(t *testing.T) {
	spec := Spec{Stdout: mkfifo(t, "out")}
	o := open(t, spec)
	cmd := spawn(t, o, "exec yes")
	s := o.outputs[0]
	if !harness.Until(bound, func() bool {
		before := s.moved.Load()
		time.Sleep(100 * time.Millisecond)
		return s.isFull() && s.moved.Load() == before
	}) {
		t.Fatal("the fifo does not fill")
	}
	if _, exact := s.progress(); !exact {
		t.Error("something is in hand")
	}
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	time.Sleep(time.Second)
	if used := cpu() - before; used > 300*time.Millisecond {
		t.Errorf("%v of a second's CPU", used)
	}
	if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// A slow reader that lives gets everything, though the process is long gone and an orphan has the pipe.
func TestDrainForSlowReader(t *testing.T) {
	for name, held := range map[string]bool{"ended": false, "held by an orphan": true} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Stdout: mkfifo(t, "out")}
			r := openEnd(t, spec.Stdout, os.O_RDONLY)
			o := open(t, spec)
			_, out, _ := o.Files()
			w, orphan := dup(t, out), dup(t, out)
			start(t, o)
			if !held {
				orphan.Close()
			}
			const size = 120 << 10 // pipe and fifo hold it
			if _, err := w.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			w.Close()
			got := make(chan int)
			go func() {
				n, b := 0, make([]byte, 4<<10)
				for {
					m, err := r.Read(b)
					if n += m; err != nil {
						got <- n
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}()
			o.Drain(harness.Limit(time.Minute))
			_ = o.Close()
			if n := <-got; n != size {
				t.Errorf("%d of %d bytes", n, size)
			}
		})
	}
}

// The limit holds for a reader that takes a little all the time.
func TestDrainLimit(t *testing.T) {
	spec := Spec{Stdout: mkfifo(t, "out")}
	r := openEnd(t, spec.Stdout, os.O_RDONLY)
	o := open(t, spec)
	_, out, _ := o.Files()
	w := dup(t, out)
	start(t, o)
	go func() { _, _ = w.Write(make([]byte, 1<<20)) }()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_, _ = r.Read(make([]byte, 1))
			}
		}
	}()
	time.Sleep(100 * time.Millisecond)
	within(t, "drain", func() { o.Drain(200 * time.Millisecond) })
}
