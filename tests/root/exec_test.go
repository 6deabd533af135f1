package root_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestExecFlags(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Env = append(s.Process.Env, "FROM=config")
		s.Process.NoNewPrivileges = false
	})
	for _, tc := range []struct {
		name, script, want string
		flags              []string
	}{
		{"nothing said", "id -u; id -G; pwd; echo $FROM $HOME", "0\n0\n/\nconfig /root", nil},
		{"user", "id -u; id -g; echo $HOME", "65534\n65534\n/", []string{"--user", "65534:65534"}},
		{"user alone keeps the group", "id -u; id -g", "1\n0", []string{"-u", "1"}},
		{"further groups", "id -G", "0 5 1234", []string{"-g", "5", "-g", "1234"}},
		{"directory", "pwd", "/usr/bin", []string{"--cwd", "/usr/bin"}},
		{"environment", "echo $FROM $A $B", "config 1 x,y", []string{"-e", "A=1", "-e", "B=x,y"}},
		{"environment replaced", "echo $FROM", "flag", []string{"-e", "FROM=flag"}},
		{"capabilities", "grep CapEff /proc/self/status", "CapEff:\t0000000020000420", nil},
		{"further capability", "grep CapEff /proc/self/status", "CapEff:\t0000000020000421", []string{"--cap", "CAP_CHOWN"}},
		{"no new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1", []string{"--no-new-privs"}},
		{"no terminal", "tty", "not a tty", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := append(append([]string{"exec"}, tc.flags...), c.id, "sh", "-c", tc.script)
			equal(t, "output", tc.want, strings.TrimSpace(c.Run(args...).Stdout))
		})
	}
}

func TestExecIsInTheContainer(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		addNamespaces(s, specs.CgroupNamespace, specs.TimeNamespace)
	})
	const script = "for ns in pid net mnt uts ipc user cgroup time; do readlink /proc/self/ns/$ns; done; cut -d: -f3 /proc/self/cgroup | sort -u"
	inside := namespacesOf(t, c.pid)
	var want []string
	for _, file := range []string{"pid", "net", "mnt", "uts", "ipc", "user", "cgroup", "time"} {
		want = append(want, inside[file])
	}
	equal(t, "namespaces and cgroup", strings.Join(append(want, "/"), "\n"), c.exec(script))
}

func TestExecExitStatus(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, nil)
	for script, want := range map[string]int{"exit 7": 7, "true": 0, "kill -9 $$": 137} {
		equal(t, script, want, c.Run("exec", c.id, "sh", "-c", script).Code)
	}
	for program, words := range map[string][]string{
		"nothing": {"executable file not found in $PATH"}, "/nothing": {"no such file or directory"}, "/etc/passwd": {"permission denied"}, "/bin": {"is a directory: permission denied"},
	} {
		r := c.Run("exec", c.id, program)
		equal(t, program, 255, r.Code)
		wantFailure(t, r, words...)
	}
}

func TestExecDetached(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, nil)
	pidFile := filepath.Join(t.TempDir(), "pid")
	c.MustRun("exec", "-d", "--pid-file", pidFile, c.id, "sleep", "1001")
	pid := int(atoi(t, read(t, pidFile)))
	equal(t, "program", "sleep 1001", strings.ReplaceAll(strings.Trim(proc(t, pid, "cmdline"), "\x00"), "\x00", " "))
	equal(t, "namespaces other than init's", []string(nil), different(namespacesOf(t, c.pid), namespacesOf(t, pid)))
	equal(t, "cgroup", proc(t, c.pid, "cgroup"), proc(t, pid, "cgroup"))
}

func TestExecProcessFile(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, nil)
	p := specs.Process{
		Args: []string{"sh", "-c", "id -u; id -G; pwd; echo $A; umask; ulimit -n; grep -E 'CapEff|NoNew' /proc/self/status; cat /proc/self/oom_score_adj"},
		Cwd:  "/usr", Env: []string{"PATH=/bin", "A=file"}, NoNewPrivileges: true, OOMScoreAdj: new(77),
		User:         specs.User{UID: 0, GID: 3, AdditionalGids: []uint32{4}, Umask: new(uint32(0o077))},
		Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 55, Hard: 66}},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}},
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "process.json")
	write(t, file, string(b))
	equal(t, "output", "0\n3 4\n/usr\nfile\n0077\n55\nCapEff:\t0000000000000020\nNoNewPrivs:\t1\n77\n", c.MustRun("exec", "--process", file, c.id))
}

// TestExecProcessFromAPipe: scripts write `--process <(jq …)`.
func TestExecProcessFromAPipe(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, nil)
	r := c.RunWith(func(cmd *exec.Cmd) {
		line := `"$0" "$@" --process <(sleep 0.2; echo '{"args": ["echo", "piped"], "cwd": "/"}') ` + c.id
		cmd.Args = append([]string{"bash", "-c", line, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/bash"
	}, "exec")
	equal(t, "output", "piped\n", r.Stdout)
}

// TestExecOfAProcessThatSaysLittle: what the file leaves open is the container's.
func TestExecOfAProcessThatSaysLittle(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 55, Hard: 66}}
		s.Process.User.Umask = new(uint32(0o077))
	})
	pid := c.execed(&specs.Process{})
	for _, name := range []string{"CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb", "Umask"} {
		equal(t, name, status(t, c.pid, name), status(t, pid, name))
	}
	equal(t, "limits", limitsOf(t, c.pid), limitsOf(t, pid))
	none := c.execed(&specs.Process{Capabilities: &specs.LinuxCapabilities{}})
	equal(t, "no capabilities, said so", "0000000000000000", status(t, none, "CapEff"))
}

func TestExecInAStoppedContainer(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, nil)
	c.MustRun("kill", c.id, "KILL")
	c.WaitStatus(c.id, specs.StateStopped)
	r := c.Run("exec", c.id, "true")
	equal(t, "exit code", 255, r.Code)
	wantFailure(t, r, "cannot exec in a stopped container")
}

func TestExecWithoutMountNamespace(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) { plain(s) })
	link, err := os.Readlink(filepath.Join(c.bundle, "rootfs", "bin", "sh"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the root", link, c.exec("readlink /bin/sh"))
	equal(t, "entries", "bin dev etc proc root run sys tmp usr var", c.exec("echo $(ls /)"))
}
