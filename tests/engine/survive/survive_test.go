package survive_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// patience is how long anything may take that is waited for.
const patience = 60 * time.Second

// subject is an engine that is replaced.
type subject struct {
	*docker.Engine
	t     *testing.T
	build int
}

func (s *subject) path(name string) string { return filepath.Join(filepath.Dir(s.Socket()), name) }

// docker runs a command that has to succeed, and returns what it prints.
func (s *subject) docker(args ...string) string {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd := s.Inside(append([]string{"timeout", "120", "docker"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("docker %v: %v: %s", args, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// TestReplaced replaces engine, manager, and both, by TERM and by KILL.
func TestReplaced(t *testing.T) {
	harness.NeedRoot(t)
	rounds, err := strconv.Atoi(os.Getenv("GANTRY_SURVIVE"))
	if err != nil {
		rounds = 3
	}
	s := &subject{Engine: docker.Start(t, &docker.Releases[1], docker.Setup{Engine: true}), t: t}
	program := buildLoad(t)
	s.install()
	s.Dockerd.Stop()
	s.Dockerd.Start()

	s.docker("network", "create", "net")
	mount := []string{"run", "--detach", "--network", "net", "--stop-signal", "KILL", "--volume", program + ":/load:ro"}
	run := func(args ...string) { s.docker(append(slices.Clip(mount), args...)...) }
	run("--name", "server", "--network-alias", "alias", "--publish", "8000:80", "busybox:gantry", "/load", "serve", ":80")
	run("--name", "asker", "busybox:gantry", "sleep", "100000")
	run("--name", "chatty", "--log-opt", "max-size=-1", "busybox:gantry", "sh", "-c", "i=0; while :; do echo $i; i=$((i + 1)); usleep 1000; done")
	address := s.docker("inspect", "--format", "{{.NetworkSettings.Networks.net.IPAddress}}", "server")

	began := time.Now()
	connections := startLoad(t, "connections", s.Inside(program, "connect", "200", "127.0.0.1:8000", address+":80", address+":80", "[::1]:8000"))
	pid := s.docker("inspect", "--format", "{{.State.Pid}}", "asker")
	// The names are asked for in the container, by a process that no engine started.
	lookUps := startLoad(t, "look-ups", s.Inside("nsenter", "--net=/proc/"+pid+"/ns/net",
		program, "look-up", "100", "127.0.0.11:53", "server="+address, "alias="+address))
	exec := s.exec("asker")
	loads := []*load{connections, lookUps, exec}
	all := func(when string) {
		for _, l := range loads {
			l.goesOn(when, 50)
		}
	}
	all("at first")
	for n := range rounds {
		s.replace(n, all)
		if t.Failed() {
			break
		}
	}
	for _, l := range loads {
		l.end(time.Since(began))
	}
	s.chatty()
}

// exec talks to a process of `docker exec`: it is a load, too.
func (s *subject) exec(name string) *load {
	s.t.Helper()
	out, in := io.Pipe()
	cmd := s.Inside("docker", "exec", "--interactive", name, "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	l := &load{t: s.t, what: "lines of an exec", stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		answers := bufio.NewScanner(out)
		for n := 0; ; n++ {
			if _, err := fmt.Fprintln(stdin, n); err != nil {
				break // its end was asked for
			}
			if !answers.Scan() || answers.Text() != strconv.Itoa(n) {
				l.mu.Lock()
				l.counts.failed++
				fmt.Fprintf(&l.said, "%q for %d, %v", answers.Text(), n, answers.Err())
				l.mu.Unlock()
				break
			}
			l.mu.Lock()
			l.counts.done++
			l.mu.Unlock()
			time.Sleep(5 * time.Millisecond)
		}
		_ = stdin.Close()
		go func() { _, _ = io.Copy(io.Discard, out) }() // the rest, which is nothing
		if err := cmd.Wait(); err != nil {
			l.mu.Lock()
			l.counts.failed++
			fmt.Fprintf(&l.said, "docker exec: %v", err)
			l.mu.Unlock()
		}
		_ = in.Close()
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // where there is no engine, the end of its input is for the next one to tell
		<-l.ended
	})
	return l
}

// replace ends what the round is about, lets the load go on without it, and starts another build in its place.
func (s *subject) replace(n int, goesOn func(when string)) {
	s.t.Helper()
	signal := []unix.Signal{unix.SIGTERM, unix.SIGKILL}[n%2]
	engine, manager := n%3 != 1, n%3 != 0
	when := fmt.Sprintf("round %d, engine %v, manager %v, signal %d", n, engine, manager, signal)
	netkeeper, keeper, old := s.outliving("netkeeper"), s.outliving("keeper"), s.manager()
	s.install()
	if engine {
		if signal == unix.SIGKILL {
			s.Dockerd.Kill()
		} else {
			s.Dockerd.Stop()
		}
	}
	if manager {
		if err := unix.Kill(old, signal); err != nil && err != unix.ESRCH {
			s.t.Fatal(err)
		}
	}
	goesOn(when + ", while it is gone")
	if engine {
		s.Dockerd.Start()
		s.changed(when, "netkeeper", netkeeper, func() int { return s.outliving("netkeeper") })
		s.changed(when, "keeper", keeper, func() int { return s.outliving("keeper") })
	}
	if manager {
		s.changed(when, "manager", old, s.manager)
	}
	if got := s.docker("ps", "--format", "{{.Names}}"); len(strings.Fields(got)) != 3 {
		s.t.Errorf("%s: there are %q", when, got)
	}
	if got := s.docker("exec", "asker", "nslookup", "-type=a", "server"); !strings.Contains(got, "server") {
		s.t.Errorf("%s: nslookup: %s", when, got)
	}
	goesOn(when + ", when it is back")
}

// changed waits until a process is another one.
func (s *subject) changed(when, what string, old int, now func() int) {
	s.t.Helper()
	if !harness.Until(patience, func() bool { n := now(); return n != 0 && n != old }) {
		s.t.Errorf("%s: %s %d stays", when, what, old)
	}
}

func (s *subject) manager() int {
	b, _ := os.ReadFile(s.path("exec/manager/manager.pid")) // it may be away
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// outliving is the only process of the engine's that has this hidden mode; 0 while there is none, or a second one takes over.
func (s *subject) outliving(mode string) int {
	s.t.Helper()
	var found []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f) // it may have ended
		if args := strings.Split(string(b), "\x00"); len(args) > 3 && args[1] == mode && args[3] == s.path("exec/"+mode) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		return 0
	}
	return found[0]
}

// install puts another build of the engine and of the manager into the place of those that are there: which build a program
// is, its file says.
func (s *subject) install() {
	s.t.Helper()
	s.build++
	if err := os.MkdirAll(s.path("installed"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	for name, from := range map[string]string{
		"dockerd": compat.Engine(s.t), "gantry-manager": compat.Manager(s.t),
		"containerd-shim-gantry-v2": compat.Shim(s.t, compat.Containerd24), "runc": harness.Runtime(s.t),
	} {
		program, err := os.ReadFile(from)
		if err != nil {
			s.t.Fatal(err)
		}
		// Behind the end of a program there is nothing that is run.
		program = append(program, fmt.Sprintf("build %d", s.build)...)
		path, link := s.path("installed/"+name), s.path("bin/"+name)
		for _, err := range []error{
			os.WriteFile(path+".new", program, 0o755), os.Rename(path+".new", path), os.Remove(link), os.Symlink(path, link),
		} {
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// chatty looks for lines that are lost or doubled.
func (s *subject) chatty() {
	s.t.Helper()
	next := 0
	for line := range strings.FieldsSeq(s.docker("logs", "chatty")) {
		if n, err := strconv.Atoi(line); err != nil || n != next {
			s.t.Errorf("the log has %q where %d belongs", line, next)
			return
		}
		next++
	}
	s.t.Logf("lines of a log: %d, none lost", next)
	if next == 0 {
		s.t.Error("the log is empty")
	}
}
