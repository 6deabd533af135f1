package root_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// event is a line of `events`, with the part of the data that tests look at.
type event struct {
	Type, ID string
	Data     *struct {
		CPU struct {
			Usage struct{ Total uint64 }
			PSI   any
		}
		CPUSet struct{ CPUs []uint16 }
		Memory struct {
			Usage, Swap struct{ Limit, Usage uint64 }
			Raw         map[string]uint64
			PSI         any
		}
		Pids    struct{ Current, Limit uint64 }
		BlkIO   struct{ PSI any }
		Hugetlb map[string]any
	}
}

func parseEvent(t *testing.T, line string) event {
	t.Helper()
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return e
}

func TestEventsStats(t *testing.T) {
	const limit = 64 << 20
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(limit))}, Pids: &specs.LinuxPids{Limit: new(int64(50))}}
	})
	out := c.MustRun("events", "--stats", c.id)
	if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
		t.Errorf("not one line: %q", out)
	}
	e := parseEvent(t, out)
	if e.Type != "stats" || e.ID != c.id || e.Data.CPU.Usage.Total == 0 || e.Data.Memory.Usage.Limit != limit ||
		e.Data.Memory.Usage.Usage == 0 || len(e.Data.Memory.Raw) == 0 || e.Data.Pids.Current < 2 || e.Data.Pids.Limit != 50 || e.Data.Hugetlb == nil {
		t.Errorf("%s", out)
	}
	// Updated limits are those that are told from then on.
	c.update(t, `{"pids":{"limit":60}}`)
	equal(t, "limit", uint64(60), parseEvent(t, c.MustRun("events", c.id, "--stats")).Data.Pids.Limit)
	c.MustRun("pause", c.id)
	equal(t, "of a paused one", "stats", parseEvent(t, c.MustRun("events", c.id, "--stats")).Type)
	c.MustRun("resume", c.id)
	c.MustRun("kill", c.id, "KILL")
	c.WaitStatus(c.id, specs.StateStopped)
	for _, args := range [][]string{{"events", "--stats", c.id}, {"events", c.id}} {
		wantFailure(t, c.Run(args...), "container with id "+c.id+" is not running")
	}
}

// TestEventsHaveTheKeysOfDebiansRunc compares with the runtime that clients know.
func TestEventsHaveTheKeysOfDebiansRunc(t *testing.T) {
	const peer = "/usr/sbin/runc"
	if unix.Access(peer, unix.X_OK) != nil {
		t.Skip("no " + peer)
	}
	c := start(t, nil)
	root := t.TempDir()
	id := c.ID("peer")
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(peer, append([]string{"--root", root}, args...)...).Output()
		if err != nil {
			t.Skipf("%s %v: %v", peer, args, err) // it may not know the machine
		}
		return string(out)
	}
	create := exec.Command(peer, "--root", root, "run", "-d", "-b", c.bundle, id)
	if err := create.Run(); err != nil {
		t.Skipf("%v: %v", create.Args, err)
	}
	defer func() { _ = exec.Command(peer, "--root", root, "delete", "--force", id).Run() }()
	theirs, ours := eventKeys(t, run("events", "--stats", id)), eventKeys(t, c.MustRun("events", "--stats", c.id))
	for _, key := range theirs {
		if !slices.Contains(ours, key) && !varies(key) {
			t.Errorf("%s is missing", key)
		}
	}
	for _, key := range ours {
		if !slices.Contains(theirs, key) && !varies(key) && !strings.Contains(key, "psi") {
			t.Errorf("%s is not runc's", key)
		}
	}
}

// varies tells of keys that are left out when their number is 0, and of huge pages: runc does
// not look for that controller in the v2 hierarchy beside v1 ones.
func varies(key string) bool {
	for _, optional := range []string{".hugetlb.", ".cache", ".max", ".usage", ".throttling.", ".limit", "ecursive"} {
		if strings.Contains(key, optional) {
			return true
		}
	}
	return false
}

func eventKeys(t *testing.T, line string) (list []string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatal(err)
	}
	var walk func(string, any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok {
			for key, value := range m {
				list = append(list, path+"."+key)
				walk(path+"."+key, value)
			}
		}
	}
	walk("", v)
	return list
}

// stream runs `events` in the background and hands over its lines.
type stream struct {
	cmd   *exec.Cmd
	lines chan string
}

func (c *container) events(t *testing.T, flags ...string) *stream {
	t.Helper()
	s := &stream{cmd: exec.Command(harness.Runtime(t), append([]string{"--root", c.Root, "events", c.id}, flags...)...), lines: make(chan string, 1000)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	return s
}

// next is the next event, within 20 s; false at the end.
func (s *stream) next(t *testing.T) (event, bool) {
	t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			return event{}, false
		}
		return parseEvent(t, line), true
	case <-time.After(20 * time.Second):
		t.Fatal("no event within 20 s")
		return event{}, false
	}
}

// end wants the stream to end by itself, with exit code 0.
func (s *stream) end(t *testing.T) (rest []event) {
	t.Helper()
	for {
		e, ok := s.next(t)
		if !ok {
			break
		}
		rest = append(rest, e)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("events: %v", err)
	}
	return rest
}

func TestEventsComeEachIntervalAndEndWithTheContainer(t *testing.T) {
	c := start(t, nil)
	s := c.events(t, "--interval", "50ms")
	for range 3 {
		if e, ok := s.next(t); !ok || e.Type != "stats" {
			t.Fatalf("%+v, %v", e, ok)
		}
	}
	c.MustRun("kill", c.id, "KILL")
	s.end(t)
}

// TestEventsWaitWithoutWork: a long interval costs no processor time.
func TestEventsWaitWithoutWork(t *testing.T) {
	c := start(t, nil)
	s := c.events(t, "--interval", "1h")
	time.Sleep(500 * time.Millisecond)
	ticks := func() int64 {
		stat := strings.Fields(proc(t, s.cmd.Process.Pid, "stat"))
		return atoi(t, stat[13]) + atoi(t, stat[14])
	}
	before := ticks()
	time.Sleep(time.Second)
	if used := ticks() - before; used > 2 {
		t.Errorf("%d hundredths of a second were used in one second of waiting", used)
	}
	c.MustRun("kill", c.id, "KILL")
	if rest := s.end(t); len(rest) > 0 {
		t.Errorf("%+v before the interval was over", rest)
	}
}

// hog offers itself to the OOM killer, whose second victim might else be the first process: what the first one
// held is not free at once.
const hog = "echo 1000 >/proc/self/oom_score_adj; head -c 64m /dev/zero | tail -c 64m >/dev/null"

func little(s *specs.Spec) {
	s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(8 << 20)), Swap: new(int64(8 << 20))}}
}

// TestOOMEvent: a process of the container is killed for want of memory; the container lives.
func TestOOMEvent(t *testing.T) {
	c := start(t, little)
	s := c.events(t, "--interval", "1h")
	time.Sleep(200 * time.Millisecond) // it must watch before
	_ = c.Run("exec", c.id, "sh", "-c", hog)
	e, ok := s.next(t)
	if !ok || e.Type != "oom" || e.ID != c.id || e.Data != nil {
		t.Errorf("%+v, %v", e, ok)
	}
	equal(t, "status", specs.StateRunning, c.State(c.id).Status)
	c.MustRun("kill", c.id, "KILL")
	for _, e := range s.end(t) {
		if e.Type != "oom" {
			t.Errorf("%+v", e)
		}
	}
}

// TestOOMEventOfTheFirstProcess: the kill is the end of the container, and told before it.
func TestOOMEventOfTheFirstProcess(t *testing.T) {
	e := harness.New(t)
	c := &container{Env: e, t: t, id: e.ID("c")}
	c.bundle = e.Bundle("while [ ! -e /go ]; do sleep 0.05; done; x=$(head -c 64m /dev/zero | tr '\\0' x)", little)
	e.MustRun("run", "-d", "-b", c.bundle, c.id)
	s := c.events(t, "--interval", "1h")
	time.Sleep(200 * time.Millisecond)
	write(t, c.bundle+"/rootfs/go", "")
	if rest := s.end(t); len(rest) == 0 || rest[0].Type != "oom" {
		t.Errorf("%+v", rest)
	}
}

// TestNoOOMEventWithoutOOM: other events of memory are none, nor is the end.
func TestNoOOMEventWithoutOOM(t *testing.T) {
	c := start(t, little)
	s := c.events(t, "--interval", "1h")
	time.Sleep(200 * time.Millisecond)
	c.MustRun("kill", c.id, "KILL")
	c.WaitStatus(c.id, specs.StateStopped)
	c.MustRun("delete", c.id)
	if rest := s.end(t); len(rest) > 0 {
		t.Errorf("%+v", rest)
	}
}

// TestPSI: pressure is told on v2, where the kernel measures it.
func TestPSI(t *testing.T) {
	e := harness.New(t)
	id := e.ID("c")
	run := func(args ...string) string {
		t.Helper()
		r := e.RunWith(onV2, args...)
		if r.Code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
		return r.Stdout
	}
	defer e.RunWith(onV2, "delete", "--force", id) // outside it would not find the cgroup
	run("run", "-d", "-b", e.Bundle(sleeper, nil), id)
	got := parseEvent(t, run("events", "--stats", id)).Data.CPU.PSI
	dir := "/sys/fs/cgroup/unified/" + id
	if _, err := os.Stat(dir); err != nil {
		dir = "/sys/fs/cgroup/" + id
	}
	text, err := os.ReadFile(dir + "/cpu.pressure")
	if err != nil || len(text) == 0 {
		if got != nil {
			t.Errorf("the kernel measures nothing (%v), told is %v", err, got)
		}
		return
	}
	psi, ok := got.(map[string]any)
	if !ok || psi["some"] == nil || psi["full"] == nil {
		t.Errorf("the kernel says %s, told is %v", text, got)
	}
	if _, err := os.Stat(dir + "/memory.pressure"); errors.Is(err, os.ErrNotExist) {
		return
	}
	if parseEvent(t, run("events", "--stats", id)).Data.Memory.PSI == nil {
		t.Error("nothing of memory")
	}
}

// TestEventsRootless: a user without cgroups is told what there is, and that limits need one.
func TestEventsRootless(t *testing.T) {
	r := newRootless(t)
	id := r.ID("c")
	r.must("run", "-d", "-b", r.bundle(sleeper, nil), id)
	e := parseEvent(t, r.must("events", "--stats", id))
	if e.Type != "stats" || e.ID != id || e.Data == nil {
		t.Errorf("%+v", e)
	}
	wantFailure(t, r.as("update", "--memory", "50M", id), "--memory: ")
	r.must("delete", "--force", id)
}
