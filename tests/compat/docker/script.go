package docker

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-containers/gantry/tests/compat"
)

// imageName is how dockerd shortens compat.ImageName.
const imageName = "busybox:gantry"

// Scripts runs the scripts of a folder at the same time. They have $IMG, the image; $NETNS, the file of
// the daemon's network namespace; $PARENT, the cgroup of all containers; $CONTAINERD_ADDRESS;
// $REGISTRY, if there is one; and a command
//
//	cgroup CONTAINER FILE   prints a file of the container's cgroup
func (e *Engine) Scripts(t *testing.T, folder string, more map[string]compat.Command) {
	t.Helper()
	e.Run(t, filepath.Base(folder), compat.Folder(t, folder), more)
}

// Serial runs them one after the other.
func (e *Engine) Serial(t *testing.T, folder string, more map[string]compat.Command) {
	t.Helper()
	for _, file := range compat.Folder(t, folder) {
		e.Run(t, filepath.Base(folder), []string{file}, more)
	}
}

// Run runs these scripts at the same time, as a group of this name.
func (e *Engine) Run(t *testing.T, name string, files []string, more map[string]compat.Command) {
	t.Helper()
	commands := map[string]compat.Command{"cgroup": printCgroup}
	maps.Copy(commands, more)
	scripts := compat.ScriptSet{Name: name, Files: files, Commands: commands, Env: map[string]string{
		"DOCKER_HOST": e.host(), "DOCKER_CONFIG": e.file("client"), "DOCKER_BUILDKIT": "0",
		"PATH": e.path(), "IMG": imageName, "NETNS": e.netns, "PARENT": e.mark,
		"CONTAINERD_ADDRESS": e.socket(), "REGISTRY": e.registry,
	}}
	scripts.Run(t)
}

func printCgroup(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cgroup CONTAINER FILE")
	}
	ts.Check(ts.Exec("docker", "inspect", "--format", "{{.State.Pid}}", args[0]))
	list, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(ts.ReadFile("stdout")), "cgroup"))
	ts.Check(err)
	content, err := os.ReadFile(filepath.Join(cgroupOf(string(list), args[1]), args[1]))
	ts.Check(err)
	_, err = ts.Stdout().Write(content)
	ts.Check(err)
}

// cgroupOf finds in a /proc/PID/cgroup the folder that has this file: of its controller's
// hierarchy, or of the only one there is. cgroups(7) has the format.
func cgroupOf(list, file string) string {
	controller, _, _ := strings.Cut(file, ".")
	unified := ""
	for line := range strings.Lines(list) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(part) < 3:
		case part[1] == controller:
			return filepath.Join("/sys/fs/cgroup", controller, part[2])
		case part[1] == "":
			unified = filepath.Join("/sys/fs/cgroup", part[2])
		}
	}
	return unified
}
