package root_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestExecCgroup runs processes in cgroups below the container's: of all hierarchies, or of
// those that a controller names.
func TestExecCgroup(t *testing.T) {
	needV1(t)
	c := start(t, nil)
	// In a user's own order: the unified hierarchy's name is empty.
	below := make(map[string]string)
	for line := range strings.Lines(proc(t, c.pid, "cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		dir := map[string]string{"": "unified", "name=systemd": "systemd"}[f[1]]
		if dir == "" {
			dir, _, _ = strings.Cut(f[1], ",")
		}
		sub := filepath.Join("/sys/fs/cgroup", dir, f[2], "sub")
		if !strings.Contains(f[2], c.id) {
			continue // a hierarchy of the machine's that the runtime leaves alone
		}
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == "cpuset" { // an empty one takes no process
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				write(t, filepath.Join(sub, file), read(t, filepath.Join(filepath.Dir(sub), file)))
			}
		}
		below[f[1]] = f[2]
	}
	for _, tc := range []struct {
		arg string
		in  func(controllers string) bool
	}{
		{"sub", func(string) bool { return true }},
		{"/sub", func(string) bool { return true }},
		{"pids:sub", func(controllers string) bool { return controllers == "pids" }},
		{"pids,memory:/sub", func(controllers string) bool { return controllers == "pids" || controllers == "memory" }},
	} {
		file := filepath.Join(t.TempDir(), "pid")
		c.MustRun("exec", "-d", "--cgroup", tc.arg, "--pid-file", file, c.id, "sleep", "1000")
		pid, err := strconv.Atoi(read(t, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(proc(t, pid, "cgroup")) {
			f := strings.SplitN(strings.TrimSpace(line), ":", 3)
			container, ok := below[f[1]]
			if !ok {
				continue
			}
			want := container
			if tc.in(f[1]) {
				want += "/sub"
			}
			equal(t, "--cgroup "+tc.arg+", hierarchy "+strconv.Quote(f[1]), want, f[2])
		}
	}
}
