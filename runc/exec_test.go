package main

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
)

func TestExecFlags(t *testing.T) {
	t.Chdir("/")
	app := new(program).app("exec")
	app.Flags = globalFlags()
	var got *libcontainer.ExecOptions
	app.Command("exec").Action = func(c *cli.Context) (err error) {
		got, err = execOptions(c)
		return err
	}
	err := app.Run([]string{
		"runc", "exec", "-e", "A=1,2", "-e", "B=", "--cgroup", "cpu,cpuacct:/x", "-t", "-d", "-u", "1:2", "-g", "7", "-g", "8",
		"-c", "CAP_KILL", "--cwd", "/w", "--pid-file", "p", "--no-new-privs", "--preserve-fds", "2", "--ignore-paused",
		"c1", "ls", "-t", "--", "-e",
	})
	want := &libcontainer.ExecOptions{
		LaunchOptions: libcontainer.LaunchOptions{PidFile: "/p", PreserveFDs: 2, Detach: true},
		ID:            "c1", Args: []string{"ls", "-t", "--", "-e"},
		Env: []string{"A=1,2", "B="}, CgroupPaths: []string{"cpu,cpuacct:/x"}, TTY: true, User: "1:2",
		AdditionalGIDs: []uint32{7, 8}, Caps: []string{"CAP_KILL"}, Cwd: "/w", NoNewPrivs: true, IgnorePaused: true,
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, options (-want +got):\n%s", err, diff)
	}
}

func TestGroupIDs(t *testing.T) {
	if got, err := groupIDs([]int64{0, math.MaxUint32 - 1}); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []int64{-1, math.MaxUint32, math.MaxUint32 + 1, math.MinInt64} {
		if got, err := groupIDs([]int64{bad}); err == nil {
			t.Errorf("%d was read as %v", bad, got)
		}
	}
}
