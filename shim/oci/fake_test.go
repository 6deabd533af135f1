package oci

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// fake makes a runtime of a shell script. The script finds its arguments in the file args, its log in $log and the
// directory in $dir.
func fake(t *testing.T, script string) (*Runtime, string) {
	t.Helper()
	dir := t.TempDir()
	text := `#!/bin/sh
dir=` + dir + `
for a; do echo "$a"; done > $dir/args
log=/dev/null
[ "$3" = --log ] && log=$4
` + script
	binary := filepath.Join(dir, "runtime")
	if err := os.WriteFile(binary, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Runtime{Binary: binary, Root: "/states", Log: filepath.Join(dir, "log.json")}, dir
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCommandLines(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name    string
		systemd bool
		call    func(*Runtime) error
		want    string
	}{
		{"create", false, func(r *Runtime) error {
			return r.Create(ctx, "c", CreateOptions{Bundle: "/b", PidFile: "/b/init.pid"})
		}, "create --bundle /b --pid-file /b/init.pid c"},
		{"create with all", true, func(r *Runtime) error {
			return r.Create(ctx, "c", CreateOptions{Bundle: "/b", PidFile: "/p", ConsoleSocket: "/s", NoPivot: true, NoNewKeyring: true})
		}, "--systemd-cgroup create --bundle /b --pid-file /p --console-socket /s --no-pivot --no-new-keyring c"},
		{"restore", false, func(r *Runtime) error {
			return r.Restore(ctx, "c", RestoreOptions{CreateOptions: CreateOptions{Bundle: "/b", PidFile: "/p", NoPivot: true}, Images: "/i", Work: "/w", Parent: "/q"})
		}, "restore --image-path /i --work-path /w --parent-path /q --detach --no-subreaper --bundle /b --pid-file /p --no-pivot c"},
		{"start", false, func(r *Runtime) error { return r.Start(ctx, "c") }, "start c"},
		{"exec", false, func(r *Runtime) error {
			return r.Exec(ctx, "c", ExecOptions{Process: "/x.json", PidFile: "/x.pid"})
		}, "exec --process /x.json --detach --pid-file /x.pid c"},
		{"exec on a terminal", false, func(r *Runtime) error {
			return r.Exec(ctx, "c", ExecOptions{Process: "/x.json", PidFile: "/x.pid", ConsoleSocket: "/s"})
		}, "exec --process /x.json --detach --pid-file /x.pid --console-socket /s c"},
		{"kill", false, func(r *Runtime) error { return r.Kill(ctx, "c", 15, false) }, "kill c 15"},
		{"kill all", false, func(r *Runtime) error { return r.Kill(ctx, "c", 9, true) }, "kill --all c 9"},
		{"delete", false, func(r *Runtime) error { return r.Delete(ctx, "c", false) }, "delete c"},
		{"delete by force", true, func(r *Runtime) error { return r.Delete(ctx, "c", true) }, "--systemd-cgroup delete --force c"},
		{"pause", false, func(r *Runtime) error { return r.Pause(ctx, "c") }, "pause c"},
		{"resume", false, func(r *Runtime) error { return r.Resume(ctx, "c") }, "resume c"},
		{"update", false, func(r *Runtime) error { return r.Update(ctx, "c", []byte("{}")) }, "update --resources - c"},
		{"checkpoint", false, func(r *Runtime) error {
			return r.Checkpoint(ctx, "c", CheckpointOptions{Images: "/i", Work: "/w"})
		}, "checkpoint --image-path /i --work-path /w c"},
		{"checkpoint with all", false, func(r *Runtime) error {
			return r.Checkpoint(ctx, "c", CheckpointOptions{
				Images: "/i", Work: "/w", Parent: "../p", TCP: true, UnixSockets: true, Terminal: true, FileLocks: true,
				LeaveRunning: true, CgroupsMode: "soft", EmptyNamespaces: []string{"network", "ipc"},
			})
		}, "checkpoint --image-path /i --work-path /w --parent-path ../p --tcp-established --ext-unix-sk --shell-job " +
			"--file-locks --manage-cgroups-mode soft --empty-ns network --empty-ns ipc --leave-running c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, dir := fake(t, "")
			r.SystemdCgroup = test.systemd
			if err := test.call(r); err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(read(t, filepath.Join(dir, "args")))
			if log := args[3]; !strings.HasPrefix(log, r.Log+".") {
				t.Errorf("the log %s is not beside %s", log, r.Log)
			}
			want := append([]string{"--root", "/states", "--log", args[3], "--log-format", "json"}, strings.Fields(test.want)...)
			if diff := cmp.Diff(want, args); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	r, _ := fake(t, `
		case "$*" in
		*" ps --format json c") echo '[7, 8]' ;;
		*" ps --format json gone") echo null ;;
		*" state c") echo '{"ociVersion": "1.0.2", "id": "c", "pid": 7, "status": "running", "bundle": "/b"}' ;;
		*" features") echo '{"ociVersionMin": "1.0.0"}' ;;
		*) echo '[1' ;;
		esac
		echo noise >&2`)
	ctx := context.Background()
	pids, err := r.Pids(ctx, "c")
	if diff := cmp.Diff([]int{7, 8}, pids); err != nil || diff != "" {
		t.Errorf("pids: %v %s", err, diff)
	}
	if pids, err = r.Pids(ctx, "gone"); err != nil || len(pids) != 0 {
		t.Errorf("pids of none: %v %v", pids, err)
	}
	if _, err = r.Pids(ctx, "bad"); err == nil || !strings.Contains(err.Error(), "the output of "+r.Binary+" ps") {
		t.Errorf("bad output: %v", err)
	}
	state, err := r.State(ctx, "c")
	if err != nil || state.Pid != 7 || state.Status != "running" {
		t.Errorf("state: %+v %v", state, err)
	}
	features, err := r.Features(ctx)
	if err != nil || string(features) != "{\"ociVersionMin\": \"1.0.0\"}\n" {
		t.Errorf("features: %q %v", features, err)
	}
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name, script, want string
		class              error
	}{
		{"last error of the log", `
			echo '{"level":"error","msg":"first"}' >> $log
			echo '{"level":"warning","msg":"a word"}' >> $log
			echo '{"level":"error","msg":" container does not exist\\n"}' >> $log
			echo '{"level":"info","msg":"bye"}' >> $log
			echo stderr >&2; exit 1`, "container does not exist", ErrNotFound},
		{"youki", `echo '{"timestamp":"x","level":"ERROR","fields":{"message":"no such process"}}' > $log; exit 1`, "no such process", ErrFinished},
		{
			"crun", "echo '{\"level\":\"error\",\"msg\":\"error opening file `/r/c/status`: No such file or directory\"}' > $log; exit 1",
			"error opening file `/r/c/status`: No such file or directory", ErrNotFound,
		},
		{"finished", `echo '{"level":"error","msg":"os: process already finished"}' > $log; exit 1`, "os: process already finished", ErrFinished},
		{"not running", `echo '{"level":"error","msg":"container not running"}' > $log; exit 1`, "container not running", ErrNotRunning},
		{"only stderr", `echo 'wrong usage' >&2; exit 1`, "wrong usage", nil},
		{"no errors in the log", `echo 'not json' > $log; echo 'wrong usage' >&2; exit 1`, "wrong usage", nil},
		{"no word", `exit 3`, "runtime kill: exit status 3", nil},
		{"killed", `kill -9 $$`, "runtime kill: killed by signal 9", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, dir := fake(t, test.script)
			err := r.Kill(context.Background(), "c", 9, false)
			if err == nil || strings.TrimPrefix(err.Error(), dir+"/") != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
			for _, class := range []error{ErrNotFound, ErrNotRunning, ErrFinished, ErrNoAnswer} {
				if errors.Is(err, class) != (class == test.class) {
					t.Errorf("is %v: %v", class, errors.Is(err, class))
				}
			}
		})
	}
}

// A missing directory of the bundle is no missing container.
func TestCreateIsNeverNotFound(t *testing.T) {
	r, _ := fake(t, `echo '{"level":"error","msg":"rootfs does not exist"}' > $log; exit 1`)
	if err := r.Create(context.Background(), "c", CreateOptions{}); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestNoRuntime(t *testing.T) {
	notProgram := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notProgram, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, binary := range []string{"/nonexistent/crun", "no-such-runtime", notProgram} {
		r := &Runtime{Binary: binary}
		err := r.Create(context.Background(), "c", CreateOptions{})
		if !errors.Is(err, ErrNoRuntime) || !strings.Contains(err.Error(), binary) {
			t.Errorf("%s: %v", binary, err)
		}
	}
}

// The log of a call that failed is kept, one; of the others nothing is.
func TestLogsDoNotPileUp(t *testing.T) {
	r, dir := fake(t, `
		echo '{"level":"debug","msg":"hello"}' > $log
		[ "$(tail -n 1 $dir/args)" = 1 ] || exit 0
		echo '{"level":"error","msg":"no"}' >> $log; exit 1`)
	for range 3 {
		if err := r.Kill(context.Background(), "c", 0, false); err != nil {
			t.Fatal(err)
		}
		if err := r.Kill(context.Background(), "c", 1, false); err == nil || err.Error() != "no" {
			t.Fatal(err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "log.json*"))
	if diff := cmp.Diff([]string{r.Log}, logs); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if got := read(t, r.Log); strings.Count(got, "\n") != 2 {
		t.Errorf("the log is %q", got)
	}
}

// Calls that run at the same time read their own errors.
func TestConcurrentFailures(t *testing.T) {
	r, _ := fake(t, `
		for a; do :; done
		echo "{\"level\":\"error\",\"msg\":\"error $a\"}" >> $log
		sleep 0.05
		exit 1`)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := r.Kill(context.Background(), "c", i, false)
			if err == nil || err.Error() != "error "+strconv.Itoa(i) {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestStdio(t *testing.T) {
	r, dir := fake(t, `ls -l /proc/self/fd > $dir/fds; cat; echo out; echo err >&2`)
	extra, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("in\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	if err := r.Create(context.Background(), "c", CreateOptions{Stdio: Stdio{In: input, Out: output}}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, out); got != "in\nout\n" {
		t.Errorf("stdout: %q", got)
	}
	fds := read(t, filepath.Join(dir, "fds"))
	for _, want := range []string{"0 -> " + in, "2 -> /dev/null"} {
		if !strings.Contains(fds, want) {
			t.Errorf("%s is missing in\n%s", want, fds)
		}
	}
	if strings.Contains(fds, "/dev/zero") || strings.Contains(fds, "anon_inode") {
		t.Errorf("the runtime has our files:\n%s", fds)
	}
}

func TestUpdateInput(t *testing.T) {
	r, dir := fake(t, `cat > $dir/stdin`)
	if err := r.Update(context.Background(), "c", []byte(`{"pids":{"limit":3}}`)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "stdin")); got != `{"pids":{"limit":3}}` {
		t.Errorf("stdin was %q", got)
	}
}

func TestNotifySocket(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("OTHER", "kept")
	r, dir := fake(t, `env > $dir/env`)
	if err := r.Start(context.Background(), "c"); err != nil {
		t.Fatal(err)
	}
	if env := read(t, filepath.Join(dir, "env")); strings.Contains(env, "NOTIFY_SOCKET") || !strings.Contains(env, "OTHER=kept") {
		t.Errorf("the runtime's environment:\n%s", env)
	}
}

const hang = `
	sleep 1000 & echo $! > $dir/child
	echo $$ > $dir/pid.new; mv $dir/pid.new $dir/pid
	wait`

// A runtime that hangs is killed with the helpers that it started.
func TestHang(t *testing.T) {
	r, dir := fake(t, hang)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		if !harness.Until(10*time.Second, func() bool { return exists(filepath.Join(dir, "pid")) }) {
			t.Error("the runtime does not run")
		}
		cancel()
	}()
	err := r.Start(ctx, "c")
	if !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "start was killed after") {
		t.Errorf("error %v", err)
	}
	for _, file := range []string{"pid", "child"} {
		waitGone(t, pidIn(t, filepath.Join(dir, file)))
	}
	if err := r.Start(ctx, "c"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrNoAnswer) {
		t.Errorf("a call that was not begun: %v", err)
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	if !harness.Until(10*time.Second, func() bool { return dead(pid) }) {
		t.Errorf("process %d is left", pid)
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// dead says that the process is gone or a zombie, which only its parent's absence keeps there.
func dead(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// The runtime does not outlive the process that called it.
func TestCallerDies(t *testing.T) {
	if binary := os.Getenv("GANTRY_OCI_CALLER"); binary != "" {
		r := &Runtime{Binary: binary}
		t.Error(r.Start(context.Background(), "c"))
		return
	}
	r, dir := fake(t, hang)
	caller := exec.Command("/proc/self/exe", "-test.run=^TestCallerDies$")
	caller.Env = append(os.Environ(), "GANTRY_OCI_CALLER="+r.Binary)
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	if !harness.Until(10*time.Second, func() bool { return exists(filepath.Join(dir, "pid")) }) {
		t.Error("the runtime does not run")
	}
	_ = caller.Process.Kill()
	_ = caller.Wait()
	waitGone(t, pidIn(t, filepath.Join(dir, "pid")))
	_ = unix.Kill(pidIn(t, filepath.Join(dir, "child")), unix.SIGKILL)
}
