package shim_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// calls are tests of what ctr does not show. Each container is named after its test.
func calls(t *testing.T, c *compat.Client) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *compat.Client){"order": order, "update": update, "classes": classes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
			if !harness.Until(10*time.Second, func() bool { return len(c.Leftovers(name+"-")) == 0 }) {
				t.Errorf("left behind: %v", c.Leftovers(name+"-"))
			}
		})
	}
}

func connect(t *testing.T, c *compat.Client) (*client.Client, context.Context) {
	t.Helper()
	conn := client.New(filepath.Join(c.Dir, "sock"), c.Namespace)
	t.Cleanup(conn.Close)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(time.Minute))
	t.Cleanup(cancel)
	return conn, ctx
}

// order: what is told of a container, in the order in which it arrives, with the same pid, code and time everywhere.
func order(t *testing.T, c *compat.Client) {
	const id = "order-1"
	conn, ctx := connect(t, c)
	events := c.Events(t)
	c.Ctr("run", "-d", "--null-io", compat.ImageName, id, "sleep", "1000")
	task, err := c.Task(id)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Try("tasks", "exec", "--exec-id", "e", id, "sh", "-c", "exit 6") // the code is ctr's, too
	must(t, conn.Simple(ctx, "Pause", id))
	must(t, conn.Simple(ctx, "Resume", id))
	must(t, conn.Kill(ctx, id, "", int(unix.SIGKILL)))
	exit, err := conn.Wait(ctx, id, "")
	must(t, err)
	deleted, err := conn.Delete(ctx, id, "")
	must(t, err)
	c.Ctr("containers", "rm", id)
	events.Wait(t, id, "/containers/delete", 1)

	want := []string{
		"containers/create", "tasks/create", "tasks/start", "tasks/exec-added", "tasks/exec-started", "tasks/exit",
		"tasks/paused", "tasks/resumed", "tasks/exit", "tasks/delete", "containers/delete",
	}
	got := events.Topics(id)
	if c.Own { // containerd's own shims lose some, and change the order
		t.Logf("events: %v", got)
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if exit.Code != 137 || deleted.Code != 137 || !exit.At.Equal(deleted.At) || int(deleted.Pid) != task.PID {
		t.Errorf("wait %+v, delete %+v; want code 137, the same time, pid %d", exit, deleted, task.PID)
	}
	for _, e := range events.Of(id) {
		switch {
		case e.Topic == "/tasks/exit" && e.ID == "e":
			if e.ExitStatus != 6 {
				t.Errorf("%+v, want code 6", e)
			}
		case e.Topic == "/tasks/exit" || e.Topic == "/tasks/delete":
			if e.PID != task.PID || e.ExitStatus != 137 || !e.ExitedAt.Equal(exit.At) {
				t.Errorf("%+v, want pid %d, code 137, time %v", e, task.PID, exit.At)
			}
		case e.Topic == "/tasks/create" || e.Topic == "/tasks/start":
			if e.PID != task.PID {
				t.Errorf("%+v, want pid %d", e, task.PID)
			}
		}
	}
}

// update: the limits of a running container.
func update(t *testing.T, c *compat.Client) {
	const id = "update-1"
	conn, ctx := connect(t, c)
	c.Ctr("run", "-d", "--null-io", compat.ImageName, id, "sleep", "1000")
	limit, pids := int64(64<<20), int64(50)
	resources, err := json.Marshal(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &pids},
	})
	must(t, err)
	must(t, conn.Update(ctx, id, resources))
	for want, files := range map[string][]string{
		"67108864\n": {"memory/%/memory.limit_in_bytes", "%/memory.max"},
		"50\n":       {"pids/%/pids.max", "%/pids.max"},
	} {
		if got := cgroupFile(c.Namespace+"/"+id, files); got != want {
			t.Errorf("%v: %q, want %q", files, got, want)
		}
	}
	if err := conn.Update(ctx, id, []byte("nonsense")); err == nil {
		t.Error("an update with nonsense succeeds")
	}
	if err := conn.Update(ctx, "nobody", resources); ttrpc.CodeOf(err) != ttrpc.NotFound {
		t.Errorf("update of nobody: %v", err)
	}
	c.Ctr("tasks", "rm", "-f", id)
	c.Ctr("containers", "rm", id)
}

// cgroupFile reads the first of the files that is there, with the cgroup for %.
func cgroupFile(cgroup string, files []string) string {
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", strings.ReplaceAll(f, "%", cgroup)))
		if err == nil {
			return string(b)
		}
	}
	return ""
}

// classes: what clients tell errors by.
func classes(t *testing.T, c *compat.Client) {
	const id = "classes-1"
	conn, ctx := connect(t, c)
	process, err := json.Marshal(&specs.Process{Args: []string{"sleep", "2000"}, Cwd: "/", Env: []string{"PATH=/bin"}})
	must(t, err)
	run := func(call string, err error, want ...ttrpc.Code) {
		t.Helper()
		if c.Own && err != nil {
			want = append(want, ttrpc.Unknown) // it forgets some
		}
		if !slices.Contains(want, ttrpc.CodeOf(err)) {
			t.Errorf("%s: class %d, want %d: %v", call, ttrpc.CodeOf(err), want, err)
		}
	}
	start := func(exec string) error {
		_, err := conn.Start(ctx, id, exec)
		return err
	}
	remove := func(exec string) error {
		_, err := conn.Delete(ctx, id, exec)
		return err
	}
	get := func(exec string) error {
		_, err := conn.Get(ctx, id, exec)
		return err
	}
	kill := func(exec string) error { return conn.Kill(ctx, id, exec, int(unix.SIGKILL)) }
	exec := func(exec string) error { return conn.Exec(ctx, id, exec, process, client.IO{}) }

	run("kill nobody", kill(""), ttrpc.NotFound)
	c.Ctr("run", "-d", "--null-io", compat.ImageName, id, "sleep", "1000")
	run("delete running", remove(""), ttrpc.FailedPrecondition)
	run("start again", start(""), ttrpc.Unknown, ttrpc.FailedPrecondition)
	run("start an unknown exec", start("none"), ttrpc.NotFound)
	run("kill an unknown exec", kill("none"), ttrpc.NotFound)
	run("delete an unknown exec", remove("none"), ttrpc.NotFound)
	run("get an unknown exec", get("none"), ttrpc.NotFound)
	run("exec", exec("a"), ttrpc.OK)
	run("exec again", exec("a"), ttrpc.AlreadyExists)
	run("kill an exec that was not started", kill("a"), ttrpc.FailedPrecondition)
	run("start an exec", start("a"), ttrpc.OK)
	run("delete a running exec", remove("a"), ttrpc.FailedPrecondition, ttrpc.Unknown)
	run("kill an exec", kill("a"), ttrpc.OK)
	_, err = conn.Wait(ctx, id, "a")
	run("wait for an exec", err, ttrpc.OK)
	run("kill an exec that has ended", kill("a"), ttrpc.NotFound)
	run("delete an exec", remove("a"), ttrpc.OK)
	run("delete an exec again", remove("a"), ttrpc.NotFound)
	run("exec with the name of one that was deleted", exec("a"), ttrpc.OK)
	run("exec another", exec("b"), ttrpc.OK)
	run("kill", kill(""), ttrpc.OK)
	_, err = conn.Wait(ctx, id, "")
	run("wait", err, ttrpc.OK)
	run("wait again", second(conn.Wait(ctx, id, "")), ttrpc.OK)
	run("kill again", kill(""), ttrpc.NotFound)
	run("start an exec in one that has ended", start("b"), ttrpc.FailedPrecondition)
	run("pause one that has ended", conn.Simple(ctx, "Pause", id), ttrpc.FailedPrecondition, ttrpc.Unknown)
	run("delete", remove(""), ttrpc.OK)
	run("delete again", remove(""), ttrpc.NotFound)
	run("get what was deleted", get(""), ttrpc.NotFound)
	c.Ctr("containers", "rm", id)
}

func second[T any](_ T, err error) error { return err }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
