package badinput_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestARootfsThatIsNone(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	in := func(name string) string { return filepath.Join(bundle, name) }
	write(t, in("file"), nil)
	try(t, unix.Mkfifo(in("fifo"), 0o644))
	try(t, os.Symlink("rootfs", in("link")))
	try(t, os.Symlink(".", in("loop")))
	try(t, os.Mkdir(in("empty"), 0o755))
	for _, c := range []struct{ name, path, want string }{
		{"missing", "none", `root.path: rootfs ("` + in("none") + `"): no such file or directory`},
		{"a file", "file", `root.path: rootfs ("` + in("file") + `"): not a directory`},
		{"a FIFO", "fifo", `root.path: rootfs ("` + in("fifo") + `"): not a directory`},
		{"below a file", "file/rootfs", `root.path: rootfs ("` + in("file/rootfs") + `"): not a directory`},
		{"a symlink", "link", `root.path: rootfs ("` + in("link") + `") must not be or lie behind a symlink`},
		{"behind a symlink", "loop/rootfs", `root.path: rootfs ("` + in("loop/rootfs") + `") must not be or lie behind a symlink`},
		{"the host's root", "/", "root.path: rootfs must not be the host's root"},
		{"empty, without the program", "empty", `process.args[0]: exec: "sh": executable file not found in $PATH`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			e.EditConfig(bundle, func(s *specs.Spec) { s.Root.Path = c.path })
			for _, verb := range []string{"create", "run"} {
				refused(e, c.want, verb, "-b", bundle, id)
			}
		})
	}
}

// elf is the smallest program that the kernel recognises, elf(5), of a machine.
func elf(machine uint16) []byte {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], 0x400078)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], 1)
	return b
}

// foreignMachine is EM_S390: of another width, byte order and make than any of ours.
const foreignMachine = 22

// badPrograms are made in the rootfs. late says that only execve can find out, which is at
// start, not at create.
var badPrograms = []struct {
	name, arg string
	make      func(rootfs string) error
	late      bool
	want      string
}{
	{"missing", "/none", nil, false, `process.args[0]: exec: "/none": stat /none: no such file or directory`},
	{"missing in PATH", "none", nil, false, `process.args[0]: exec: "none": executable file not found in $PATH`},
	{"empty", "", nil, false, `process.args[0]: exec: "": executable file not found in $PATH`},
	{"below a file", "/bin/busybox/x", nil, false, `process.args[0]: exec: "/bin/busybox/x": stat /bin/busybox/x: not a directory`},
	{"a directory", "/bin", nil, false, `process.args[0]: exec: "/bin": is a directory: permission denied`},
	{"a directory in PATH", "dir", func(root string) error { return os.Mkdir(root+"/bin/dir", 0o755) }, false, `process.args[0]: exec: "dir": executable file not found in $PATH`},
	{"a loop of symlinks", "/loop", func(root string) error { return os.Symlink("loop", root+"/loop") }, false, `process.args[0]: exec: "/loop": stat /loop: too many levels of symbolic links`},
	{"not executable", "/plain", func(root string) error { return os.WriteFile(root+"/plain", nil, 0o644) }, false, `process.args[0]: exec: "/plain": permission denied`},
	{"a FIFO", "/fifo", func(root string) error { return unix.Mkfifo(root+"/fifo", 0o755) }, true, `process.args: exec /fifo: permission denied`},
	{"empty file", "/nothing", func(root string) error { return os.WriteFile(root+"/nothing", nil, 0o755) }, true, `process.args: exec /nothing: exec format error`},
	{"text", "/text", func(root string) error { return os.WriteFile(root+"/text", []byte("hello\n"), 0o755) }, true, `process.args: exec /text: exec format error`},
	{"of another architecture", "/foreign", func(root string) error { return os.WriteFile(root+"/foreign", elf(foreignMachine), 0o755) }, true, `process.args: exec /foreign: exec format error`},
	{"with an interpreter that is missing", "/script", func(root string) error { return os.WriteFile(root+"/script", []byte("#!/none\n"), 0o755) }, true, `process.args: exec /script: no such file or directory`},
	{"with a directory for an interpreter", "/script2", func(root string) error { return os.WriteFile(root+"/script2", []byte("#!/bin\n"), 0o755) }, true, `process.args: exec /script2: permission denied`},
	{"its own interpreter", "/script3", func(root string) error { return os.WriteFile(root+"/script3", []byte("#!/script3\n"), 0o755) }, true, `process.args: exec /script3: too many levels of symbolic links`},
}

func TestAProgramThatCannotRun(t *testing.T) {
	e := harness.New(t)
	id, other := e.ID("a"), e.ID("b")
	bundle := e.Bundle("sleep 100", nil)
	e.MustRun("run", "-d", "-b", bundle, other)
	for _, c := range badPrograms {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			if c.make != nil {
				try(t, c.make(bundle+"/rootfs"))
			}
			e.EditConfig(bundle, func(s *specs.Spec) { s.Process.Args = []string{c.arg, "x"} })
			for _, args := range [][]string{{"run", "-b", bundle, id}, {"run", "-d", "-b", bundle, id}} {
				(&attempt{env: e, leaves: true, args: args}).refused(c.want)
				noState(e, id)
			}
			(&attempt{env: e, leaves: true, args: []string{"exec", other, c.arg}}).refused(c.want)
			if !c.late {
				(&attempt{env: e, leaves: true, args: []string{"create", "-b", bundle, id}}).refused(c.want)
				noState(e, id)
				return
			}
			e.MustRun("create", "-b", bundle, id)
			(&attempt{env: e, leaves: true, args: []string{"start", id}}).refused("process.args")
			if status := e.State(id).Status; status != specs.StateStopped {
				t.Errorf("status after the failed start: %s", status)
			}
			e.MustRun("delete", id)
			noState(e, id)
		})
	}
	e.MustRun("delete", "--force", other)
	nothingLeft(e)
}

// noState wants a container to be gone while another one is there.
func noState(e *harness.Env, id string) {
	e.T.Helper()
	for _, what := range e.Leftovers() {
		if bytes.Contains([]byte(what), []byte(id)) {
			e.T.Errorf("left behind: %s", what)
		}
	}
}

func TestARootfsOnAMountWithoutExec(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	private := privately("mount --bind " + bundle + "/rootfs " + bundle + "/rootfs && mount -o remount,bind,noexec " + bundle + "/rootfs")
	for _, c := range []struct{ name, arg, want string }{
		{"by its path", "/bin/busybox", `process.args[0]: exec: "/bin/busybox": permission denied`},
		{"in PATH", "sh", `process.args[0]: exec: "sh": executable file not found in $PATH`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			e.EditConfig(bundle, func(s *specs.Spec) { s.Process.Args = []string{c.arg} })
			for _, verb := range []string{"create", "run"} {
				(&attempt{env: e, change: private, args: []string{verb, "-b", bundle, id}}).refused(c.want)
			}
		})
	}
}

// mounting is how runc begins to tell of a bind mount that failed.
func mounting(source, destination string) string {
	return fmt.Sprintf("unable to start container process: error during container init: error mounting %q to rootfs at %q: ", source, destination)
}

func TestAMountThatIsImpossible(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	bind := []string{"bind"}
	for _, c := range []struct {
		name  string
		mount specs.Mount
		want  string
	}{
		{"a source that is missing", specs.Mount{Destination: "/mnt", Source: "/none/at/all", Options: bind}, mounting("/none/at/all", "/mnt") + "mounts[0]: bind /none/at/all on /mnt: open_tree: no such file or directory"},
		{"a destination below a file", specs.Mount{Destination: "/etc/passwd/x", Source: "/etc", Options: bind}, mounting("/etc", "/etc/passwd/x") + "mounts[0]: "},
		{"a directory on a file", specs.Mount{Destination: "/etc/passwd", Source: "/etc", Options: bind}, mounting("/etc", "/etc/passwd") + "mounts[0]: bind /etc on /etc/passwd: move_mount: not a directory"},
		{"a file on a directory", specs.Mount{Destination: "/etc", Source: "/etc/passwd", Options: bind}, mounting("/etc/passwd", "/etc") + "mounts[0]: bind /etc/passwd on /etc: move_mount: not a directory"},
		{"a destination that is a FIFO", specs.Mount{Destination: "/fifo/x", Type: "tmpfs"}, "mounts[0]: "},
		{"a file system that nobody knows", specs.Mount{Destination: "/mnt", Type: "florpfs"}, "mounts[0]: mount florpfs on /mnt: mount: no such device"},
		{"an option that the file system refuses", specs.Mount{Destination: "/mnt", Type: "tmpfs", Options: []string{"size=lots"}}, "mounts[0]: mount tmpfs on /mnt data size=lots: mount: invalid argument"},
		{"an option that nobody knows", specs.Mount{Destination: "/mnt", Type: "tmpfs", Options: []string{"florp"}}, "mounts[0]: mount tmpfs on /mnt data florp: mount: invalid argument"},
		{"a destination of 5,000 characters", specs.Mount{Destination: "/" + string(bytes.Repeat([]byte("d"), 5000)), Type: "tmpfs"}, "mounts[0]: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			_ = unix.Mkfifo(bundle+"/rootfs/fifo", 0o644)
			e.EditConfig(bundle, func(s *specs.Spec) { s.Mounts = []specs.Mount{c.mount} })
			for _, verb := range []string{"create", "run"} {
				refused(e, c.want, verb, "-b", bundle, id)
			}
		})
	}
}

func TestARootfsThatCannotBeWritten(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) {
		s.Mounts = []specs.Mount{{Destination: "/not/there", Type: "tmpfs"}}
	})
	a := &attempt{env: e, args: []string{"create", "-b", bundle, id}, change: privately("mount --bind " + bundle + "/rootfs " + bundle + "/rootfs && mount -o remount,bind,ro " + bundle + "/rootfs")}
	a.refused("mounts[0]: mount tmpfs on /not/there: mkdirat: read-only file system")
}
