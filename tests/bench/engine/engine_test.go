package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// image is what containers are made from.
const image = "busybox:gantry"

// engine is a daemon and all that it starts, in a cgroup that counts what they cost.
type engine struct {
	*docker.Engine
	t      testing.TB
	name   string
	api    *client.Client
	lasted int // processes that stay between two turns
}

func start(t testing.TB, r *docker.Release, name string, setup docker.Setup) *engine {
	t.Helper()
	e := &engine{Engine: docker.Start(t, r, setup), t: t, name: name}
	api, err := client.New(client.WithHost(e.Host()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	e.api = api
	e.count()
	return e
}

// daemons are the processes that are there without a container, by what they do.
func (e *engine) daemons() map[string]int {
	e.t.Helper()
	found := map[string]int{"engine": e.Dockerd.PID()}
	if e.Below != nil {
		found["containerd"] = e.Below.PID()
	}
	for name, file := range map[string]string{"manager": "exec/manager/manager.pid", "keeper": "exec/keeper/keeper.pid"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(e.Socket()), file))
		if err != nil {
			continue // It is none of ours, or has not begun.
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			e.t.Fatal(err)
		}
		found[name] = pid
	}
	counted, err := os.ReadFile(filepath.Join(e.counter(), "daemons", "cgroup.procs"))
	if err != nil {
		return found // Nothing is counted yet.
	}
	for pid := range strings.FieldsSeq(string(counted)) {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err == nil && bytes.Contains(line, []byte("\x00netkeeper\x00")) {
			found["netkeeper"], _ = strconv.Atoi(pid)
		}
	}
	return found
}

// count has the counter count daemons that were started just now, and what they start.
func (e *engine) count() {
	e.t.Helper()
	dir := filepath.Join(e.counter(), "daemons")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		e.t.Fatal(err)
	}
	for _, pid := range e.daemons() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			e.t.Fatal(err)
		}
	}
	e.lasted = len(e.processes())
}

// counter is the cgroup of the containers in the hierarchy that counts CPU time; the daemons' is below it.
func (e *engine) counter() string {
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/cpuacct"); err == nil {
		top += "/cpuacct"
	}
	return filepath.Join(top, e.Parent())
}

// usage is the CPU time of everything so far.
func (e *engine) usage() time.Duration {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.counter(), "cpuacct.usage"))
	unit := time.Nanosecond
	if err != nil {
		text, err = os.ReadFile(filepath.Join(e.counter(), "cpu.stat"))
		text = bytes.TrimPrefix(bytes.SplitN(text, []byte("\n"), 2)[0], []byte("usage_usec "))
		unit = time.Microsecond
	}
	if err != nil {
		e.t.Fatal(err)
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		e.t.Fatal(err)
	}
	return time.Duration(n) * unit
}

// processes are the daemons, the shims, and what they run outside of containers.
func (e *engine) processes() []string {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.counter(), "daemons", "cgroup.procs"))
	if err != nil {
		e.t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// settle waits until only processes remain that were there before.
func (e *engine) settle() {
	e.t.Helper()
	if !harness.Until(30*time.Second, func() bool { return len(e.processes()) <= e.lasted }) {
		e.t.Fatalf("%s: processes %v don't end", e.name, e.processes())
	}
}

// command runs the CLI, and waits for what it has set off. Its own time is in the cost.
func (e *engine) command(args ...string) side.Cost {
	e.t.Helper()
	cmd := exec.Command(filepath.Join(filepath.Dir(e.Socket()), "bin/docker"), args...)
	cmd.Env = append(os.Environ(), e.Environment()...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	c := e.measure(func() error { return cmd.Run() })
	if stderr.Len() > 0 && cmd.ProcessState.ExitCode() != 0 {
		e.t.Fatalf("%s: docker %v: %s", e.name, args, stderr.String())
	}
	c.CPU += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c
}

// measure is what something costs the daemons, and how long it takes.
func (e *engine) measure(do func() error) side.Cost {
	e.t.Helper()
	before, begin := e.usage(), time.Now()
	err := do()
	c := side.Cost{Wall: time.Since(begin)}
	if err != nil {
		e.t.Fatalf("%s: %v", e.name, err)
	}
	e.settle()
	c.CPU = e.usage() - before
	return c
}

// run starts a container that stays, and removes it at the end.
func (e *engine) sleepers(n int, more ...string) []string {
	e.t.Helper()
	args := append(append([]string{"run", "--detach", "--network", "none", "--label", "bench"}, more...), image, "sleep", "100000")
	for range n {
		if err := e.Docker(args...); err != nil {
			e.t.Fatal(err)
		}
	}
	list, err := e.api.ContainerList(context.Background(), client.ContainerListOptions{Filters: make(client.Filters).Add("label", "bench")})
	if err != nil {
		e.t.Fatal(err)
	}
	var ids []string
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	if len(ids) != n {
		e.t.Fatal(fmt.Errorf("%s: %d of %d containers run", e.name, len(ids), n))
	}
	e.lasted = len(e.processes())
	return ids
}

// remove removes them.
func (e *engine) remove(ids []string) {
	e.t.Helper()
	for len(ids) > 0 {
		n := min(len(ids), 100)
		if err := e.Docker(append([]string{"rm", "--force"}, ids[:n]...)...); err != nil {
			e.t.Error(err)
		}
		ids = ids[n:]
	}
	e.lasted = len(e.daemons())
	e.settle()
}
