package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/tests/harness"
)

// isEngine makes the test's program the engine.
const isEngine = "GANTRY_TEST_IS_ENGINE"

func TestMain(m *testing.M) {
	if os.Getenv(isEngine) != "" || len(os.Args) > 1 && os.Args[1] == keeper.Argument {
		main()
		return
	}
	os.Exit(m.Run())
}

// running is an engine in a folder of the test.
type running struct {
	t    *testing.T
	dir  string
	args []string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan error
}

func prepare(t *testing.T) *running {
	t.Helper()
	harness.NeedRoot(t)
	d := &running{t: t, dir: t.TempDir()}
	d.args = []string{
		"--data-root", d.file("root"), "--exec-root", d.file("exec"), "--pidfile", d.file("pid"), "-H", "unix://" + d.file("sock"),
		"--config-file", d.file("daemon.json"),
	}
	d.write("daemon.json", "{}")
	t.Cleanup(d.end)
	return d
}

func (d *running) file(name string) string { return filepath.Join(d.dir, name) }

func (d *running) write(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(d.file(name), []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *running) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), isEngine+"=1", "GORACE=atexit_sleep_ms=0", "PATH="+filepath.Join(harness.Top(), "bin")+":"+os.Getenv("PATH"))
	return cmd
}

// start returns when the engine answers.
func (d *running) start() {
	d.t.Helper()
	d.cmd = d.command(d.args...)
	d.cmd.Stderr = &d.log
	// Its bridges are not to be the machine's.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(d.cmd, d.done)
	c := d.client()
	until(d.t, "the engine does not answer: ", &d.log, func() bool {
		_, err := c.Ping(context.Background(), client.PingOptions{})
		return err == nil
	})
}

func (d *running) client() *client.Client {
	d.t.Helper()
	c, err := client.New(client.WithHost("unix://" + d.file("sock")))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// signal ends the engine and waits until it has.
func (d *running) signal(s syscall.Signal) error {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
	select {
	case err := <-d.done:
		d.cmd = nil
		return err
	case <-time.After(30 * time.Second):
		d.t.Fatalf("the engine does not end: %s", &d.log)
		return nil
	}
}

// end leaves nothing behind.
func (d *running) end() {
	if d.cmd != nil {
		_ = d.signal(syscall.SIGKILL)
	}
	for _, file := range []string{"exec/manager/manager.pid", "exec/keeper/keeper.pid"} {
		if pid := d.pid(file); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, pid := range d.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	// An engine that was killed leaves it to the next one.
	_ = syscall.Unmount(filepath.Join(d.dir, "exec/netns/default"), syscall.MNT_DETACH)
}

// processes are all that have the folder of the test in their command line.
func (d *running) processes() (found []int) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		d.t.Error(err)
	}
	for _, file := range all {
		b, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && pid != os.Getpid() && bytes.Contains(b, []byte(d.dir)) {
			found = append(found, pid)
		}
	}
	return found
}

func (d *running) pid(file string) int {
	b, err := os.ReadFile(d.file(file))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

func until(t *testing.T, what string, more fmt.Stringer, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what, more)
		}
	}
}

func TestServesAndReloadsAndEnds(t *testing.T) {
	d := prepare(t)
	d.start()
	c := d.client()
	ping, err := c.Ping(t.Context(), client.PingOptions{})
	if err != nil || ping.APIVersion != "1.56" || ping.OSType != "linux" || ping.BuilderVersion != "1" {
		t.Errorf("ping %+v, %v", ping, err)
	}
	nets, err := c.NetworkList(t.Context(), client.NetworkListOptions{})
	if err != nil || len(nets.Items) != 3 {
		t.Errorf("networks %+v, %v", nets, err)
	}
	version, err := c.ServerVersion(t.Context(), client.ServerVersionOptions{})
	if err != nil || len(version.Components) < 2 {
		t.Errorf("version %+v, %v", version, err)
	}
	told := c.Events(t.Context(), client.EventsListOptions{})
	d.write("daemon.json", `{"labels":["a=b"],"debug":true}`)
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for reloaded := false; !reloaded; {
		select {
		case e := <-told.Messages:
			reloaded = e.Type == events.DaemonEventType && e.Action == events.ActionReload
		case err := <-told.Err:
			t.Fatal(err)
		case <-time.After(20 * time.Second):
			t.Fatalf("no event of the reload: %s", &d.log)
		}
	}
	info, err := c.Info(t.Context(), client.InfoOptions{})
	if err != nil || len(info.Info.Labels) != 1 || info.Info.Labels[0] != "a=b" || !info.Info.Debug {
		t.Errorf("labels %v, debug %v, %v", info.Info.Labels, info.Info.Debug, err)
	}
	manager := d.pid("exec/manager/manager.pid")
	if err := d.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, &d.log)
	}
	for _, gone := range []string{"sock", "pid", "exec/manager/manager.pid"} {
		if _, err := os.Stat(d.file(gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	if err := syscall.Kill(manager, 0); manager == 0 || !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the manager %d is left: %v", manager, err)
	}
}

// Who is killed leaves a socket, a pidfile and a manager; the next one takes all of them over.
func TestKilledAndReplaced(t *testing.T) {
	d := prepare(t)
	d.start()
	before, err := d.client().Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	manager := d.pid("exec/manager/manager.pid")
	_ = d.signal(syscall.SIGKILL)
	if err := syscall.Kill(manager, 0); err != nil {
		t.Fatalf("the manager died with its engine: %v", err)
	}
	d.start()
	if again := d.pid("exec/manager/manager.pid"); again != manager {
		t.Errorf("manager %d, want %d that was there", again, manager)
	}
	after, err := d.client().Info(t.Context(), client.InfoOptions{})
	if err != nil || after.Info.ID != before.Info.ID {
		t.Errorf("ids %s and %s, %v", before.Info.ID, after.Info.ID, err)
	}
}

func TestTheManagerDies(t *testing.T) {
	d := prepare(t)
	d.start()
	manager := d.pid("exec/manager/manager.pid")
	if err := syscall.Kill(manager, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c := d.client()
	until(t, "it is not there again: ", &d.log, func() bool {
		_, err := c.ServerVersion(context.Background(), client.ServerVersionOptions{})
		return err == nil && d.pid("exec/manager/manager.pid") != manager
	})
}

// Two engines never work in the same folder.
func TestSecondEngine(t *testing.T) {
	d := prepare(t)
	d.start()
	for name, test := range map[string]struct {
		change func(args []string)
		want   string
	}{
		"same socket": {func([]string) {}, "another process serves it"},
		"same root": {func(args []string) {
			args[3], args[5], args[7] = d.file("exec2"), d.file("pid2"), "unix://"+d.file("sock2")
		}, "another engine works with this data-root"},
		"same pidfile": {func(args []string) {
			args[1], args[3], args[7] = d.file("root3"), d.file("exec3"), "unix://"+d.file("sock3")
		}, "is still running"},
	} {
		args := append([]string{}, d.args...)
		test.change(args)
		out, err := d.command(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if _, err := d.client().Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Errorf("the first one was disturbed: %v", err)
	}
}

// A real dockerd's data is not touched.
func TestForeignRoot(t *testing.T) {
	d := prepare(t)
	theirs := d.file("root/containers/0123")
	if err := os.MkdirAll(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	d.write("root/containers/0123/config.v2.json", "{}")
	out, err := d.command(d.args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has the containers of another engine") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(theirs, "config.v2.json")); err != nil {
		t.Error(err)
	}
}

// What a dockerd that is asked one thing answers, and its exit codes.
func TestAskedOneThing(t *testing.T) {
	d := prepare(t)
	d.write("bad.json", "x")
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"version":      {[]string{"--version"}, 0, "Docker version unknown, build unknown (Gantry)\n"},
		"help":         {[]string{"--help"}, 0, "--data-root string"},
		"validate":     {[]string{"--validate", "--config-file", d.file("daemon.json")}, 0, "configuration OK\n"},
		"bad file":     {[]string{"--validate", "--config-file", d.file("bad.json")}, 1, "unable to configure the Docker daemon with file " + d.file("bad.json") + ": invalid JSON"},
		"unknown flag": {[]string{"--foo"}, 125, "unknown flag: --foo\nSee"},
	}
	for name, test := range tests {
		out, err := d.command(test.args...).CombinedOutput()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		}
		if code != test.code || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: %d %s\nwant %d %s", name, code, out, test.code, test.want)
		}
	}
}

// Clients that connect while the engine starts are answered when it is ready.
func TestEarlyClient(t *testing.T) {
	d := prepare(t)
	answered := make(chan error, 1)
	go func() {
		for {
			conn, err := net.Dial("unix", d.file("sock"))
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
			b := make([]byte, 15)
			_, err = conn.Read(b)
			if err == nil && string(b) != "HTTP/1.1 200 OK" {
				err = errors.New(string(b))
			}
			answered <- err
			return
		}
	}()
	d.start()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
