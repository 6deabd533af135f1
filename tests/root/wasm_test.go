package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// wasm makes a bundle whose process is the module, at /app.wasm and not executable.
func wasm(t *testing.T, e *harness.Env, edit change, args ...string) (bundle string) {
	t.Helper()
	bundle = e.Bundle("", func(s *specs.Spec) {
		s.Annotations = map[string]string{"run.oci.handler": "wasm"}
		s.Process.Args = append([]string{"/app.wasm"}, args...)
		if edit != nil {
			edit(s)
		}
	})
	putProgram(t, "app.wasm", filepath.Join(bundle, "rootfs", "app.wasm"), 0o644)
	return bundle
}

// putProgram makes a file of one of the harness's programs.
func putProgram(t *testing.T, name, file string, mode os.FileMode) {
	t.Helper()
	b, err := harness.Program(name)
	if err == nil {
		err = os.WriteFile(file, b, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWasmModuleGetsWhatAProcessHas(t *testing.T) {
	e := harness.New(t)
	host := source(t)
	write(t, filepath.Join(host, "note"), "from a mount\n")
	bundle := wasm(t, e, func(s *specs.Spec) {
		s.Process.Env = append(s.Process.Env, "COLOUR=blue")
		s.Process.Cwd = "/usr"
		s.Mounts = append(s.Mounts, bind(host, "/host", "ro"))
	}, "args", "env=COLOUR", "env=HOME", "cwd", "read=/host/note", "write=/host/new", "write=/tmp/new", "read=/tmp/new", "copy", "stderr=a complaint", "exit=7")
	r := e.RunWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader("from stdin\n") }, "run", "-b", bundle, e.ID("c"))
	equal(t, "exit status", 7, r.Code)
	equal(t, "stderr", "a complaint\n", r.Stderr)
	equal(t, "stdout", `["/app.wasm" "args" "env=COLOUR" "env=HOME" "cwd" "read=/host/note" "write=/host/new" "write=/tmp/new" "read=/tmp/new" "copy" "stderr=a complaint" "exit=7"]
COLOUR=blue
HOME=/root
/usr
from a mount
write: open /host/new: Read-only file system
written by the module
from stdin
`, r.Stdout)
}

// TestWasmModuleIsConfinedAsAProgramIs: whatever the kernel holds the container to, it holds
// the module to.
func TestWasmModuleIsConfinedAsAProgramIs(t *testing.T) {
	for name, tc := range map[string]struct {
		edit change
		args []string
		want string
	}{
		"user": {
			func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} },
			[]string{"read=/secret", "write=/new"},
			"read: open /secret: Permission denied\nwrite: open /new: Permission denied\n",
		},
		"user namespace": {mapped, []string{"read=/proc/self/uid_map"}, "         0     100000      65536\n"},
		"seccomp": {filter(specs.LinuxSyscall{Names: []string{"openat"}, Action: specs.ActErrno, ErrnoRet: new(uint(1)), Args: []specs.LinuxSeccompArg{
			{Index: 2, Value: 0o100, ValueTwo: 0o100, Op: specs.OpMaskedEqual}, // O_CREAT
		}}), []string{"write=/new"}, "write: open /new: Operation not permitted\n"},
		"seccomp of Docker": {dockerProfile(t), []string{"read=/proc/sys/kernel/hostname"}, "runc\n"},
		"masked path":       {nil, []string{"read=/proc/keys"}, ""},
		"read-only root":    {func(s *specs.Spec) { s.Root.Readonly = true }, []string{"write=/new"}, "write: open /new: Read-only file system\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := wasm(t, e, tc.edit, tc.args...)
			secret := filepath.Join(bundle, "rootfs", "secret")
			write(t, secret, "secret\n")
			if err := os.Chmod(secret, 0o600); err != nil {
				t.Fatal(err)
			}
			equal(t, "stdout", tc.want, e.MustRun("run", "-b", bundle, e.ID("c")))
		})
	}
}

func TestWasmChosenByAnnotation(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		args        []string
		want        string
	}{
		"variant": {map[string]string{"module.wasm.image/variant": "compat"}, []string{"app.wasm", "args"}, "[\"app.wasm\" \"args\"]\n"},
		"smart, a module": {
			map[string]string{"module.wasm.image/variant": "compat-smart"}, []string{"/bin/app.wasm", "args"}, "[\"/bin/app.wasm\" \"args\"]\n",
		},
		"smart, a program": {map[string]string{"run.oci.handler": "wasm-smart"}, []string{"echo", "a program"}, "a program\n"},
		"sandbox of a pod": {
			map[string]string{"run.oci.handler": "wasm", "io.kubernetes.cri.container-type": "sandbox"}, []string{"echo", "a program"}, "a program\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := wasm(t, e, func(s *specs.Spec) { s.Annotations, s.Process.Args = tc.annotations, tc.args })
			if err := os.Rename(filepath.Join(bundle, "rootfs", "app.wasm"), filepath.Join(bundle, "rootfs", "bin", "app.wasm")); err != nil {
				t.Fatal(err)
			}
			equal(t, "stdout", tc.want, e.MustRun("run", "-b", bundle, e.ID("c")))
		})
	}
}

func TestWasmCreatedStartedAndEntered(t *testing.T) {
	e := harness.New(t)
	c := &container{Env: e, t: t, id: e.ID("c")}
	e.MustRun("create", "-b", wasm(t, e, nil, "sleep"), c.id)
	equal(t, "status", specs.StateCreated, e.State(c.id).Status)
	e.MustRun("start", c.id)
	equal(t, "status", specs.StateRunning, e.State(c.id).Status)
	c.pid = e.State(c.id).Pid
	equal(t, "command line", "/app.wasm\x00sleep\x00", proc(t, c.pid, "cmdline"))
	eventually(t, "ps shows the module", func() bool { return proc(t, c.pid, "comm") == "app.wasm" })
	equal(t, "an ordinary program in the container", "app.wasm", c.exec("cat /proc/1/comm"))
	equal(t, "what the module has open of the host", "", strings.Join(hostFiles(t, c.pid), " "))
	e.MustRun("kill", c.id, "TERM")
	e.WaitStatus(c.id, specs.StateStopped)
	e.MustRun("delete", c.id)
}

// hostFiles are a process's open files that are none of the container's: the engine has the
// root open, and the files of the processor limit.
func hostFiles(t *testing.T, pid int) (names []string) {
	t.Helper()
	for _, fd := range descriptors(t, pid) {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd))
		if err == nil && fd > "2" && !strings.HasPrefix(link, "anon_inode:") && link != "/" && !strings.HasPrefix(link, "/sys/fs/cgroup/") {
			names = append(names, link)
		}
	}
	return names
}

func TestWasmEndsBySignal(t *testing.T) {
	e := harness.New(t)
	bundle := wasm(t, e, nil, "stderr=up", "sleep")
	id := e.ID("c")
	done := make(chan harness.Result)
	go func() { done <- e.Run("run", "-b", bundle, id) }()
	eventually(t, "the module runs", func() bool {
		r := e.Run("state", id)
		return r.Code == 0 && strings.Contains(r.Stdout, `"running"`) && proc(t, e.State(id).Pid, "comm") == "app.wasm"
	})
	e.MustRun("kill", id, "TERM")
	equal(t, "exit status", 128+15, (<-done).Code)
}

// TestWasmRootless: an ordinary user's runtime takes the handler that is root's.
func TestWasmRootless(t *testing.T) {
	r := newRootless(t)
	handler := filepath.Join(filepath.Dir(r.binary), "runc-wasm")
	write(t, handler, read(t, filepath.Join(filepath.Dir(harness.Runtime(t)), "runc-wasm")))
	if err := os.Chmod(handler, 0o755); err != nil {
		t.Fatal(err)
	}
	bundle := r.bundle("", func(s *specs.Spec) {
		s.Annotations = map[string]string{"run.oci.handler": "wasm"}
		s.Process.Args = []string{"/app.wasm", "args", "exit=7"}
	})
	putProgram(t, "app.wasm", filepath.Join(bundle, "rootfs", "app.wasm"), 0o644)
	want := harness.Result{Stdout: "[\"/app.wasm\" \"args\" \"exit=7\"]\n", Code: 7}
	equal(t, "as nobody", want, r.as("run", "-b", bundle, r.ID("user")))
}

func TestWasmThatIsNone(t *testing.T) {
	for name, tc := range map[string]struct {
		content, want string
	}{
		"a script":    {"#!/bin/sh\n", "runc-wasm: /app.wasm: not a WebAssembly module\n"},
		"a component": {"\x00asm\x0d\x00\x01\x00", "runc-wasm: /app.wasm: a WebAssembly component; modules of WASI preview 1 are supported\n"},
		"damaged":     {"\x00asm\x01\x00\x00\x00\xff\xff\xff", "runc-wasm: /app.wasm: "},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := wasm(t, e, nil)
			write(t, filepath.Join(bundle, "rootfs", "app.wasm"), tc.content)
			r := e.Run("run", "-b", bundle, e.ID("c"))
			if r.Code != 126 || !strings.HasPrefix(r.Stderr, tc.want) {
				t.Errorf("exit %d, stderr %q", r.Code, r.Stderr)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		refuse(t, func(s *specs.Spec) {
			s.Annotations = map[string]string{"run.oci.handler": "wasm"}
			s.Process.Args = []string{"/none.wasm"}
		}, `process.args[0]: exec: \"/none.wasm\": stat /none.wasm: no such file or directory`)
	})
	t.Run("not readable", func(t *testing.T) {
		e := harness.New(t)
		bundle := wasm(t, e, func(s *specs.Spec) { s.Process.User.UID = 1000 })
		if err := os.Chmod(filepath.Join(bundle, "rootfs", "app.wasm"), 0o700); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, e.Run("run", "-b", bundle, e.ID("c")), "process.args[0]", "permission denied")
	})
}

// TestWasmMemoryLimit: the engine and the module share the container's memory.
func TestWasmMemoryLimit(t *testing.T) {
	limit := func(mib int64) change {
		return func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(mib << 20)}}
		}
	}
	run := func(t *testing.T, mib int64, args ...string) harness.Result {
		e := harness.New(t)
		return e.Run("run", "-b", wasm(t, e, limit(mib), args...), e.ID("c"))
	}
	t.Run("that is enough", func(t *testing.T) {
		if r := run(t, 256, "allocate=16", "args"); r.Code != 0 || r.Stderr != "" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("that the module exceeds", func(t *testing.T) {
		if r := run(t, 128, "allocate=512", "args"); r.Code != 137 || r.Stdout != "" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("that the engine exceeds", func(t *testing.T) {
		if r := run(t, 2, "args"); r.Code != 137 || r.Stdout != "" {
			t.Errorf("%+v", r)
		}
	})
}

// handlerField is the annotation as it stands in a line of the log.
const handlerField = `annotations[\"run.oci.handler\"]: `

func TestHandlerIsMissing(t *testing.T) {
	refusedHandler(t, nil, handlerField+"runc-wasm is in none of [", "no such file or directory")
}

func TestHandlerOthersMayWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(file string) error
		want  string
	}{
		"by mode":   {func(file string) error { return os.Chmod(file, 0o757) }, "mode 0757 lets others write it: operation not permitted"},
		"as owners": {func(file string) error { return os.Chown(file, 1000, -1) }, "owned by user 1000: operation not permitted"},
		"a directory": {func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o755)
		}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			refusedHandler(t, func(file string) error {
				if err := os.WriteFile(file, []byte("a handler"), 0o755); err != nil {
					return err
				}
				return tc.plant(file)
			}, handlerField+"/", tc.want)
		})
	}
}

func TestUnknownHandler(t *testing.T) {
	for _, name := range []string{"krun", "mono", ""} {
		refuse(t, func(s *specs.Spec) { s.Annotations = map[string]string{"run.oci.handler": name} },
			handlerField+fmt.Sprintf(`the handler \"%s\" is not supported`, name))
	}
}

// refusedHandler wants a copy of the runtime, elsewhere, with what plant puts beside it, to
// refuse a module before it makes anything.
func refusedHandler(t *testing.T, plant func(file string) error, words ...string) {
	t.Helper()
	e := harness.New(t)
	bundle := wasm(t, e, nil)
	dir := t.TempDir()
	binary, err := os.ReadFile(harness.Runtime(t))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "runc")
	if err := os.WriteFile(copied, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if plant != nil {
		if err := plant(filepath.Join(dir, "runc-wasm")); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{"run", "create"} {
		r := e.RunWith(func(c *exec.Cmd) { c.Path = copied }, command, "-b", bundle, e.ID(command))
		wantFailure(t, r, words...)
		if _, err := os.Stat(e.Root); err == nil {
			t.Errorf("%s: the root directory of states was made", command)
		}
	}
}
