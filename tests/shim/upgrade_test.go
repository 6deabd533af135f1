package shim_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestUpgrade replaces the oldest containerd by the next, that by the next, and the newest by our manager: containers that the oldest has started
// go on, can be used, and end as under one. The shim is asked for more, and in other ways, than when it was started.
func TestUpgrade(t *testing.T) {
	harness.NeedRoot(t)
	if compat.Shim(t, compat.Containerd16) == compat.Containerd16.Program(t, "containerd-shim-runc-v2") {
		t.Skip("the oldest shim of containerd's can't be started by the newest daemon")
	}
	daemon := compat.StartContainerd(t, compat.Containerd16, compat.Shim(t, compat.Containerd16))
	client := daemon.Client(harness.Runtime(t))
	client.Ctr("run", "-d", "--null-io", compat.ImageName, "upgrade-0", "sleep", "1000")
	for i, g := range append(slices.Clone(compat.Generations[1:]), compat.Gantry) {
		id := fmt.Sprintf("upgrade-%d", i+1)
		client.Ctr("run", "-d", "--null-io", compat.ImageName, id, "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
		before, err := client.Tasks()
		must(t, err)
		daemon.Upgrade(g)
		after, err := client.Tasks()
		must(t, err)
		if !equal(before, after) || len(after) != 2 {
			t.Errorf("tasks before %s: %v, after: %v", g, before, after)
		}
		for _, id := range []string{"upgrade-0", id} {
			client.Ctr("tasks", "exec", "--exec-id", "a", id, "true")
			client.Ctr("tasks", "metrics", id)
			client.Ctr("tasks", "pause", id)
			client.Ctr("tasks", "resume", id)
		}
		conn, ctx := connect(t, client)
		must(t, conn.Kill(ctx, id, "", int(unix.SIGTERM)))
		if exit, err := conn.Wait(ctx, id, ""); err != nil || exit.Code != 7 {
			t.Errorf("wait for %s under %s: %+v, %v; want code 7", id, g, exit, err)
		}
		_, err = conn.Delete(ctx, id, "")
		must(t, err)
		client.Ctr("containers", "rm", id)
	}
	client.Ctr("tasks", "rm", "-f", "upgrade-0")
	client.Ctr("containers", "rm", "upgrade-0")
}

func equal(a, b []compat.Task) bool {
	order := func(a, b compat.Task) int { return a.PID - b.PID }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// TestSystemd has systemd make the cgroups: the shim calls the runtime with --systemd-cgroup.
func TestSystemd(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.Systemd, harness.CgroupV2)
	g := compat.Containerd24
	client := compat.StartContainerd(t, g, compat.Shim(t, g)).Client(harness.Runtime(t))
	client.Scripts(t, "systemd", compat.Folder(t, filepath.Join("..", "compat", "containerd", "testdata", "systemd")))
}
