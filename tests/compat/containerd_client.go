package compat

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Client types at a containerd, in a namespace of its own, with one OCI runtime.
type Client struct {
	*Containerd
	Namespace string
	Runtime   string            // path of the OCI runtime
	Env       map[string]string // of ctr and of scripts
}

// Client makes a namespace that has the image ImageName, where containers run by this OCI
// runtime.
func (c *Containerd) Client(runtime string) *Client {
	c.t.Helper()
	namespace := fmt.Sprintf("%s-%d", c.Marker, len(c.clients))
	client := &Client{Containerd: c, Namespace: namespace, Runtime: runtime, Env: c.environment()}
	maps.Copy(client.Env, map[string]string{
		"CONTAINERD_NAMESPACE": namespace, "GENERATION": string(c.Generation),
		"RUNC": runtime, "RUNC_ROOT": c.in("runc"), "FIFOS": c.in("fifos"), "SOCKETS": c.in("s"),
		"STATE": c.in("state"), "SHIM": c.in("bin/containerd-shim-gantry-v2"), "IMAGE": ImageName,
	})
	client.Ctr("images", "import", Image(c.t, c.Dir))
	c.clients = append(c.clients, client)
	return client
}

// Command is a program with the client's environment.
func (c *Client) Command(name string, args ...string) *exec.Cmd {
	if name == "ctr" {
		name = c.in("bin/ctr") // exec.Command looks into the test's own PATH
	}
	return command(c.Env, name, args...)
}

func command(env map[string]string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = os.Environ()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	return cmd
}

// Ctr runs a ctr that must succeed, and returns its stdout. It chooses the shim and the OCI
// runtime for run.
func (c *Client) Ctr(args ...string) string {
	c.t.Helper()
	out, err := c.Try(args...)
	if err != nil {
		c.t.Error(err)
	}
	return out
}

// Try is Ctr without the demand. The error has what ctr says.
func (c *Client) Try(args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := c.Command("ctr", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("ctr %v: %w: %s", args, err, stderr.String())
	}
	return stdout.String(), err
}

// Task is a line of `ctr tasks ls`.
type Task struct {
	ID     string
	PID    int
	Status string // CREATED, RUNNING, PAUSED, STOPPED, UNKNOWN
}

// Tasks lists the tasks of the namespace.
func (c *Client) Tasks() ([]Task, error) {
	out, err := c.Try("tasks", "ls")
	if err != nil {
		return nil, err
	}
	var list []Task
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "TASK" {
			continue
		}
		pid, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("tasks ls: %q: %w", line, err)
		}
		list = append(list, Task{f[0], pid, f[2]})
	}
	return list, nil
}

// Task returns one of them; without one, Status is empty.
func (c *Client) Task(id string) (Task, error) {
	list, err := c.Tasks()
	for _, task := range list {
		if task.ID == id {
			return task, nil
		}
	}
	return Task{}, err
}

// ShimPIDs are the processes of shims that were started for this container: one, unless it
// joined another's group.
func (c *Client) ShimPIDs(id string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		if strings.Contains(args[0], "containerd-shim") && slices.Contains(args, c.Namespace) && slices.Contains(args, id) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// Scripts runs the scripts at the same time, with `daemon kill|stop|start` beside the commands
// of Scripts, and the conditions [own], where the shim is containerd's, and [containerd1.6] or
// the like, and [remembers], where the daemon keeps what tasks and events have been. Each names
// its containers after itself, NAME-NUMBER, and must leave nothing of them.
func (c *Client) Scripts(t *testing.T, name string, files []string) {
	t.Helper()
	scripts := ScriptSet{
		Name: name, Files: files, Env: c.Env, Commands: map[string]Command{"daemon": c.control},
		Holds: map[string]bool{"own": c.Own, "containerd" + string(c.Generation): true, "remembers": !c.Generation.Upstream()},
		After: func(script string, failed bool) { c.checkScript(t, script, failed) },
	}
	scripts.Run(t)
}

// Serial runs them one after the other: each may stop the daemon.
func (c *Client) Serial(t *testing.T, name string, files []string) {
	t.Helper()
	for _, f := range files {
		c.Scripts(t, name, []string{f})
	}
}

// control is a command of scripts: `daemon kill`, `daemon stop` and `daemon start`.
func (c *Containerd) control(ts *testscript.TestScript, neg bool, args []string) {
	do := map[string]func(){"kill": c.Kill, "stop": c.Stop, "start": func() { ts.Check(c.Restart()) }}
	if neg || len(args) != 1 || do[args[0]] == nil {
		ts.Fatalf("usage: daemon kill|stop|start")
	}
	do[args[0]]()
	c.down = args[0] != "start"
}

// checkScript waits until nothing is left of a script's containers, and reports what is. What
// is left of a script that failed is removed.
func (c *Client) checkScript(t testing.TB, script string, failed bool) {
	t.Helper()
	if c.down {
		if err := c.Restart(); err != nil {
			t.Error(err)
			return
		}
		c.down = false
	}
	prefix := script + "-"
	var left []string
	if !failed {
		harness.Until(10*time.Second, func() bool {
			left = c.Leftovers(prefix)
			return len(left) == 0
		})
	}
	removed := c.remove(prefix)
	if !failed {
		left = append(left, removed...)
	}
	for _, what := range left {
		t.Errorf("%s leaves behind: %s", script, what)
	}
}

// remove removes the containers whose names begin so, and lists them.
func (c *Client) remove(prefix string) []string {
	var removed []string
	for id := range strings.FieldsSeq(c.Ctr("containers", "ls", "-q")) {
		if !strings.HasPrefix(id, prefix) {
			continue
		}
		removed = append(removed, "container "+id)
		_, _ = c.Try("tasks", "rm", "-f", id) // it may have no task
		c.Ctr("containers", "rm", id)
	}
	return removed
}

// Leftovers lists what there is of containers whose names begin so, beside their records:
// bundles, states of the OCI runtime, cgroups, fifos, shims.
func (c *Client) Leftovers(prefix string) []string {
	var left []string
	task := "io.containerd.runtime.v2.task/" + c.Namespace + "/" + prefix + "*"
	for kind, pattern := range map[string]string{
		"bundle": c.in("state/" + task), "work folder": c.in("root/" + task),
		"state": c.in("runc/" + c.Namespace + "/" + prefix + "*"),
		"fifo":  c.in("fifos/*/" + prefix + "std*"), "exec's fifo": c.in("fifos/*/" + prefix + "*-std*"),
		"cgroup": "/sys/fs/cgroup/" + c.Namespace + "/" + prefix + "*", "v1 cgroup": "/sys/fs/cgroup/*/" + c.Namespace + "/" + prefix + "*",
	} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			left = append(left, kind+" "+p)
		}
	}
	for _, p := range processes(c.Namespace) {
		if strings.Contains(p, " -id "+prefix) {
			left = append(left, p)
		}
	}
	slices.Sort(left)
	return left
}
