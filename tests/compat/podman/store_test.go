package podman_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// containersConf is a script's containers.conf. The limits of the machine's own processes
// may be lower than podman's default ones, and only CAP_SYS_RESOURCE raises them.
const containersConf = `[containers]
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
netns = "none"
[network]
network_config_dir = "@WORK@/networks"
[engine]
runtime = "runc"
cgroup_manager = "@MANAGER@"
events_logger = "file"
lock_type = "file"
image_copy_tmp_dir = "@WORK@/.tmp"
runtime_supports_json = ["runc"]
runtime_supports_nocgroup = ["runc"]
[engine.runtimes]
runc = ["@RUNTIME@"]
`

// The programs of a script. A store of its own keeps scripts apart.
const (
	podmanAsRoot = `#!/bin/sh
exec /usr/bin/podman --root '@WORK@/root' --runroot '@SHORT@/run' --tmpdir '@SHORT@/tmp' --storage-driver overlay "$@"
`
	buildahAsRoot = `#!/bin/sh
exec /usr/bin/buildah --root '@WORK@/root' --runroot '@SHORT@/run' --storage-driver overlay "$@"
`
	podmanAsUser = `#!/bin/sh
exec as-user @SCOPE@ /usr/bin/podman --storage-driver overlay "$@"
`
	buildahAsUser = `#!/bin/sh
exec as-user @SCOPE@ /usr/bin/buildah --storage-driver overlay "$@"
`
	asUser = `#!/bin/sh
exec setpriv --reuid @USER@ --regid @USER@ --init-groups --inh-caps=-all \
	env HOME='@WORK@/home' XDG_RUNTIME_DIR='@RUNDIR@' DBUS_SESSION_BUS_ADDRESS='unix:path=@RUNDIR@/bus' "$@"
`
	// inScope is where a user's terminal is: below their service manager.
	inScope = "systemd-run --user --scope --quiet"
	// counting is the runtime, and a list of its calls.
	counting = `#!/bin/sh
echo "$*" >>'@WORK@/calls'
exec '@RUNTIME@' "$@"
`
)

// storeCommand is the command `store`, with which a script begins: it gives the script
// podman and buildah with a store of their own and the image in it. At the script's end
// nothing of its containers may be left.
func storeCommand(t *testing.T, f *flavour, env map[string]string) compat.Command {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) > 0 {
			ts.Fatalf("usage: store")
		}
		work, short := ts.Getenv("WORK"), publicDir(t)
		scope, runDir := "", short
		if f.session {
			scope, runDir = inScope, fmt.Sprintf("/run/user/%d", f.user)
		}
		fill := strings.NewReplacer("@WORK@", work, "@SHORT@", short, "@RUNTIME@", env["RUNTIME"], "@MANAGER@", f.manager,
			"@USER@", strconv.Itoa(f.user), "@SCOPE@", scope, "@RUNDIR@", runDir)
		files := map[string]string{"containers.conf": containersConf, "counting/runc": counting, "calls": ""}
		if f.user != 0 {
			files["bin/podman"], files["bin/buildah"], files["bin/as-user"] = podmanAsUser, buildahAsUser, asUser
		} else {
			files["bin/podman"], files["bin/buildah"] = podmanAsRoot, buildahAsRoot
		}
		for name, content := range files {
			ts.Check(writeProgram(filepath.Join(work, name), fill.Replace(content)))
		}
		for _, dir := range []string{"home", "networks"} {
			ts.Check(os.MkdirAll(filepath.Join(work, dir), 0o700))
		}
		// Other users must reach it: rootless ones, and those of user namespaces.
		ts.Check(os.Chmod(filepath.Dir(work), 0o711))
		ts.Check(os.Chmod(work, 0o755))
		if f.user != 0 {
			ts.Check(giveTo(work, f.user))
			ts.Check(giveTo(short, f.user))
			ts.Check(os.Chmod(short, 0o700)) // XDG_RUNTIME_DIR, which podman does not take otherwise
		}
		ts.Setenv("CONTAINERS_CONF", filepath.Join(work, "containers.conf"))
		ts.Setenv("BUILDAH_RUNTIME", filepath.Join(work, "counting", "runc"))
		ts.Setenv("BUILDAH_ISOLATION", "oci")
		ts.Setenv("PATH", filepath.Join(work, "bin")+":"+ts.Getenv("PATH"))
		s := &store{t, work, short, []string{
			"PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR"), "HOME=" + ts.Getenv("HOME"),
			"CONTAINERS_CONF=" + ts.Getenv("CONTAINERS_CONF"),
		}}
		ts.Defer(func() { s.remove(f.user != 0) })
		ts.Check(s.podman("load", "--quiet", "--input", env["IMAGE"]))
	}
}

func writeProgram(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o755)
}

// giveTo makes a tree the user's.
func giveTo(top string, id int) error {
	return filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, id, id)
	})
}

// store is a script's podman.
type store struct {
	t     *testing.T
	work  string
	short string // podman refuses a run root of more than 50 characters
	env   []string
}

func (s *store) podman(args ...string) error {
	cmd := exec.Command(filepath.Join(s.work, "bin", "podman"), args...)
	cmd.Dir, cmd.Env = s.work, s.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("podman %v: %w: %s", args, err, out)
	}
	return nil
}

// remove removes what the script left running, and demands that nothing else is left.
func (s *store) remove(rootless bool) {
	steps := [][]string{{"pod", "rm", "--all", "--force", "--time", "0"}, {"rm", "--all", "--force", "--time", "0"}}
	if rootless {
		steps = append(steps, []string{"system", "migrate"}) // ends the process that keeps the user's namespaces
	}
	for _, args := range steps {
		if err := s.podman(args...); err != nil {
			s.t.Error(err)
		}
	}
	var left []string
	calm := 0 // a podman that conmon is about to start can be seen by nothing
	harness.Until(10*time.Second, func() bool {
		if !rootless { // the storage keeps a mount of this directory on itself, and conmon's podman may make it again
			_ = unix.Unmount(filepath.Join(s.work, "root", "overlay"), 0)
		}
		left = slices.Concat(mounts(s.work), mounts(s.short), processes(s.work), processes(s.short))
		if calm++; len(left) > 0 {
			calm = 0
		}
		return calm == 10
	})
	for _, what := range left {
		s.t.Errorf("left behind: %s", what)
	}
}

func mounts(below string) (list []string) {
	all, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, below+"/") {
			list = append(list, "mount "+strings.TrimSpace(line))
		}
	}
	return list
}

func processes(named string) (list []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(named+"/")) {
			list = append(list, "process "+filepath.Dir(f)+" "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return list
}

// checkCgroups fails the test for containers whose cgroup is left at its end. It removes the
// cgroups above them, which podman leaves: its own, and a pod's in hierarchies of v1 that it
// knows no controller of.
func checkCgroups(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var containers, parents []string
		harness.Until(10*time.Second, func() bool { // conmon may be about to end
			containers, parents = cgroups()
			for _, dir := range slices.Backward(parents) {
				_ = unix.Rmdir(dir) // if it can't be, it is listed again
			}
			return len(containers)+len(parents) == 0
		})
		for _, dir := range slices.Concat(containers, parents) {
			t.Errorf("left behind: cgroup %s", dir)
		}
	})
}

func cgroups() (containers, parents []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // cgroups come and go
		}
		switch {
		case strings.HasPrefix(d.Name(), "libpod-"), strings.HasPrefix(d.Name(), "buildah-buildah"):
			containers = append(containers, path)
		case strings.Contains(path+"/", "/libpod_parent/"):
			parents = append(parents, path)
		}
		return nil
	})
	return containers, parents
}
