package root_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu/criutest"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/tests/harness"
)

// failure is what a JSON log says to programs.
type failure struct {
	Code, Field, Syscall, Errno string
}

// mishap provokes one failure: it sets up, and returns the command that fails.
type mishap func(e *harness.Env, id string) []string

// create is the mishap of a bundle that can't be created.
func create(edit change) mishap {
	return func(e *harness.Env, id string) []string { return []string{"create", "-b", e.Bundle("true", edit), id} }
}

// after is the mishap of a command on a container that others have done something with.
func after(command string, before ...string) mishap {
	return func(e *harness.Env, id string) []string {
		e.MustRun("run", "-d", "-b", e.Bundle(sleeper, nil), id)
		for _, words := range before {
			e.MustRun(append(strings.Fields(words), id)...)
			if words == "kill" {
				e.WaitStatus(id, "stopped")
			}
		}
		verb, rest, _ := strings.Cut(command, " ")
		return append([]string{verb, id}, strings.Fields(rest)...)
	}
}

func program(args ...string) change { return func(s *specs.Spec) { s.Process.Args = args } }

func resources(r specs.LinuxResources) change { return func(s *specs.Spec) { s.Linux.Resources = &r } }

// mishaps provoke every code but those that no call can.
var mishaps = map[string]struct {
	provoke mishap
	want    failure
}{
	"a flag that is none": {
		func(*harness.Env, string) []string { return []string{"list", "--nope"} },
		failure{Code: "usage"},
	},
	"a pid file in a missing directory": {
		func(e *harness.Env, id string) []string {
			return []string{"create", "--pid-file", "/none/pid", "-b", e.Bundle("true", nil), id}
		},
		failure{"flag-failed", "--pid-file", "", "ENOENT"},
	},
	"an id that is a path":    {func(*harness.Env, string) []string { return []string{"state", "a/b"} }, failure{Code: "id-invalid"}},
	"no config.json":          {func(e *harness.Env, id string) []string { return []string{"run", "-b", e.T.TempDir(), id} }, failure{Code: "bundle-unreadable", Errno: "ENOENT"}},
	"a rootfs that is a file": {create(func(s *specs.Spec) { s.Root.Path = "config.json" }), failure{"bundle-unreadable", "root.path", "", "ENOTDIR"}},
	"a relative cwd":          {create(func(s *specs.Spec) { s.Process.Cwd = "x" }), failure{Code: "config-invalid", Field: "process.cwd"}},
	"a limit of the other kind of cgroups": {
		// The file is only of cgroup v2, the class only of v1.
		create(resources(specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: new(uint32(1))}, Unified: map[string]string{"memory.high": "max"}})),
		failure{Code: "unsupported"},
	},
	"an id that is taken": {
		func(e *harness.Env, id string) []string {
			bundle := e.Bundle(sleeper, nil)
			e.MustRun("create", "-b", bundle, id)
			return []string{"create", "-b", bundle, id}
		},
		failure{Code: "container-exists"},
	},
	"an id that is free":       {func(_ *harness.Env, id string) []string { return []string{"kill", id} }, failure{Code: "container-not-found"}},
	"a program in what ended":  {after("exec true", "kill"), failure{Code: "container-not-running"}},
	"a second start":           {after("start"), failure{Code: "container-running"}},
	"delete of what runs":      {after("delete"), failure{Code: "container-running"}},
	"a program in what pauses": {after("exec true", "pause"), failure{Code: "container-paused"}},
	"resume of what runs":      {after("resume"), failure{Code: "container-not-paused"}},
	"a container that is held": {
		func(e *harness.Env, id string) []string {
			command := after("delete")(e, id)
			dir, err := os.Open(filepath.Join(e.Root, id))
			if err == nil {
				err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
			}
			if err != nil {
				e.T.Fatal(err)
			}
			e.T.Cleanup(func() { dir.Close() })
			return command
		},
		failure{Code: "container-busy"},
	},
	"a state of another container": {
		func(e *harness.Env, id string) []string {
			command := after("state")(e, id)
			file := filepath.Join(e.Root, id, "state.json")
			text, err := os.ReadFile(file)
			if err == nil {
				e.T.Cleanup(func() { _ = os.WriteFile(file, text, 0o600) }) // for the delete that follows
				err = os.WriteFile(file, text[:len(text)/2], 0o600)
			}
			if err != nil {
				e.T.Fatal(err)
			}
			return command
		},
		failure{Code: "state-damaged"},
	},
	"a root below a file": {
		func(e *harness.Env, id string) []string {
			bundle := e.Bundle("true", nil)
			return []string{"--root", bundle + "/config.json/root", "create", "-b", bundle, id}
		},
		failure{Code: "state-failed", Errno: "ENOTDIR"},
	},
	"a program that is missing":    {create(program("nope")), failure{"program-not-found", "process.args[0]", "faccessat2", "ENOENT"}},
	"a program that is no program": {create(program("/etc/passwd")), failure{"program-not-executable", "process.args[0]", "faccessat2", "EACCES"}},
	"a tiny memory limit": {
		func(e *harness.Env, id string) []string {
			return []string{"run", "-b", e.Bundle("true", resources(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(4096))}})), id}
		},
		failure{Code: "oom-killed", Field: "linux.resources.memory.limit"},
	},
	"a hook that kills the container": {
		create(func(s *specs.Spec) {
			script := `kill -9 $(sed 's/.*"pid": *\([0-9]*\).*/\1/')`
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}}}
		}),
		failure{Code: "init-died"},
	},
	"a hook that fails": {
		create(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/false"}}} }),
		failure{Code: "hook-failed", Field: "hooks.createContainer[0]"},
	},
	"a hook without a program": {
		create(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/none"}}} }),
		failure{"hook-failed", "hooks.createRuntime[0]", "faccessat2", "ENOENT"},
	},
	"processors that are not there": {
		create(resources(specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}})),
		failure{"cgroup-failed", "linux.resources.cpu.cpus", "write", "ERANGE"},
	},
	"processors that update cannot set": {
		after("update --cpuset-cpus 4000"),
		failure{"cgroup-failed", "--cpuset-cpus", "write", "ERANGE"},
	},
	"statistics of a stopped container": {after("events --stats", "kill"), failure{Code: "container-not-running"}},
	"a CRIU that fails": {
		func(e *harness.Env, id string) []string {
			criutest.Install(e.T, "FAIL=dump")
			return after("checkpoint --image-path "+e.T.TempDir())(e, id)
		},
		failure{Code: "criu-failed", Syscall: "criu"},
	},
	"a CRIU that is too old": {
		func(e *harness.Env, id string) []string {
			criutest.Install(e.T, "VERSION=3.1.0")
			return after("checkpoint --image-path "+e.T.TempDir())(e, id)
		},
		failure{Code: "unsupported"},
	},
	"a mount without its source": {
		create(func(s *specs.Spec) { s.Mounts = []specs.Mount{bind("/none/at/all", "/mnt")} }),
		failure{"launch-failed", "mounts[0]", "open_tree", "ENOENT"},
	},
}

// impossible are the codes that no command can be made to answer with.
var impossible = map[fault.Code]string{
	fault.KernelTooOld: "the tests run on newer ones; TestDiagnose has it",
	fault.Internal:     "what provokes it is to be mended, or to get a code",
}

// TestErrorsForPrograms provokes every code of docs/errors.md.
func TestErrorsForPrograms(t *testing.T) {
	missing := make(map[fault.Code]bool)
	for _, code := range fault.Codes() {
		missing[code] = impossible[code] == ""
	}
	for name, c := range mishaps {
		missing[fault.Code(c.want.Code)] = false
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			log := filepath.Join(t.TempDir(), "log.json")
			command := c.provoke(e, e.ID("c"))
			r := e.Run(append([]string{"--log", log, "--log-format", "json"}, command...)...)
			if r.Code == 0 {
				t.Fatalf("%v: no failure", command)
			}
			var got failure
			if err := json.Unmarshal([]byte(read(t, log)), &got); err != nil {
				t.Fatal(err)
			}
			if c.want.Code == "unsupported" {
				got.Field = "" // depends on the machine
			}
			equal(t, strings.TrimSpace(r.Stderr), c.want, got)
		})
	}
	for code := range missing {
		if missing[code] {
			t.Errorf("%s: no mishap provokes it", code)
		}
	}
}
