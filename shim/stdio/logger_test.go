package stdio

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// script makes a logger of a shell script.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logger")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return path
}

const copyBoth = "cat <&3 >$2.out 5>&- & cat <&4 >$2.err 5>&- & env >$2.env; "

func TestLogger(t *testing.T) {
	for scheme, ready := range map[string]string{"binary": "", "binary-v2": "printf x >&5; "} {
		t.Run(scheme, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "log")
			text := copyBoth + ready + "exec 5>&-; wait; echo done >$2.done"
			o := open(t, Spec{Stdout: scheme + "://" + script(t, text) + "?to=" + to + "&z=%20&a&to=twice", ID: "me", Namespace: "k8s.io"})
			cmd := spawn(t, o, "echo out; echo err >&2")
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			within(t, "drain and close", func() { o.Drain(time.Minute); _ = o.Close() })
			waitLoggers(t)
			for name, want := range map[string]string{".out": "out\n", ".err": "err\n", ".done": "done\n"} {
				if got := content(t, to+name); got != want {
					t.Errorf("%s: %q", name, got)
				}
			}
			env := content(t, to+".env")
			if !strings.Contains(env, "CONTAINER_ID=me\n") || !strings.Contains(env, "CONTAINER_NAMESPACE=k8s.io\n") {
				t.Errorf("environment: %s", env)
			}
		})
	}
}

func TestLoggerArguments(t *testing.T) {
	got, err := loggerArgs("z=1&a=%20x&flag&z=2&b=")
	if diff := cmp.Diff([]string{"z", "1", "a", " x", "flag", "", "b", ""}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if got, err := loggerArgs(""); len(got) > 0 || err != nil {
		t.Error(got, err)
	}
}

func waitLoggers(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*bound)
	defer cancel()
	WaitLoggers(ctx)
	if ctx.Err() != nil {
		t.Error("the logger does not end")
	}
}

func TestLoggerIsNotReady(t *testing.T) {
	for name, tc := range map[string]struct{ scheme, script, want string }{
		"fails":                 {"binary", "exit 3", "ended before it was ready: exit status 3"},
		"fails, v2":             {"binary-v2", "exit 3", "ended before it was ready: exit status 3"},
		"leaves":                {"binary", "exit 0", "ended before it was ready"},
		"killed":                {"binary", "kill -9 $$", "ended before it was ready: signal: killed"},
		"closes without a byte": {"binary-v2", "exec 5>&-; exec sleep 60", "closed descriptor 5 without a byte"},
		"never":                 {"binary", "exec sleep 60", "not ready: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			fds := descriptors(t)
			ctx, cancel := context.WithTimeout(t.Context(), harness.Slow(time.Second))
			defer cancel()
			within(t, "open", func() {
				o, err := Open(ctx, Spec{Stdin: mkfifo(t, "in"), Stdout: tc.scheme + "://" + script(t, tc.script)}, t.TempDir())
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %s", err, tc.want)
				}
				if o != nil {
					t.Error("there is an IO")
				}
			})
			if now := descriptors(t); now > fds {
				t.Errorf("%d descriptors are left", now-fds)
			}
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
				t.Errorf("a child is left: %d, %v", pid, err)
			}
		})
	}
}

// A logger that does not care for its end gets SIGTERM, and what ignores that is not waited for by Close.
func TestLoggerIsEnded(t *testing.T) {
	t.Run("by SIGTERM", func(t *testing.T) {
		to := filepath.Join(t.TempDir(), "log")
		o := open(t, Spec{Stdout: "binary://" + script(t, "trap 'echo term >$2; exit' TERM; exec 5>&-; while :; do sleep 0.1; done") + "?to=" + to})
		within(t, "close", func() { _ = o.Close() })
		waitLoggers(t)
		if got := content(t, to); got != "term\n" {
			t.Errorf("the logger wrote %q", got)
		}
	})
	t.Run("by SIGKILL", func(t *testing.T) {
		cmd := exec.Command("/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		l := &logger{cmd: cmd, afterEnd: time.Millisecond, afterTerm: 200 * time.Millisecond}
		within(t, "end", func() { l.end(0) })
		waitLoggers(t)
		if ws := cmd.ProcessState; ws == nil || ws.String() != "signal: killed" {
			t.Errorf("it ended by %v", ws)
		}
	})
}

// A logger that dies while the process runs breaks the pipe, as a program at the end of a pipeline does.
func TestLoggerDies(t *testing.T) {
	o := open(t, Spec{Stdout: "binary://" + script(t, "exec 5>&-; head -c 1 <&3 >/dev/null")})
	cmd := spawn(t, o, "yes")
	var err error
	within(t, "a process without its logger", func() { err = cmd.Wait() })
	if err == nil {
		t.Error("it ended well")
	}
	within(t, "drain and close", func() { o.Drain(time.Minute); _ = o.Close() })
}
