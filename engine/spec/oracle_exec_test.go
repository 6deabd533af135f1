package spec_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
)

// TestOracleExec compares what programs of docker exec find around them, in the engine in whole and a real dockerd.
func TestOracleExec(t *testing.T) {
	oracle(t)
	e := docker.Start(t, &docker.Releases[1], docker.Setup{Containerd: true})
	theirs, ours := theReal(e), engine(t, e)
	client := compat.Newest(t, "docker")
	for _, r := range []request{
		requests[0],
		config("--user", func(c *api.Config) {
			c.User, c.Env, c.WorkingDir, c.Hostname = "user", []string{"A=a", "B=b"}, "/home", "h"
		}),
		hostConfig("--group-add --umask --cap-drop --ulimit", func(h *api.HostConfig) {
			h.GroupAdd, h.Umask, h.CapDrop = []string{"9"}, new(uint32(0o27)), []string{"MKNOD"}
			h.SecurityOpt, h.OomScoreAdj = []string{"no-new-privileges"}, 100
			h.Ulimits = []*api.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}}
		}),
		hostConfig("--privileged", func(h *api.HostConfig) { h.Privileged = true }),
	} {
		a, err := theirs.make(t, r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ours.make(t, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, options := range []string{
			"", "--user user", "--user 5:7", "--user nobody", "--privileged", "--privileged --user user", "--workdir /tmp",
			"--env A=x --env C=c --env HOSTNAME", "--tty", "--user nosuch", "--workdir /nosuch",
		} {
			is, want := inside(t, client, ours.socket, b, options), inside(t, client, theirs.socket, a, options)
			if strings.Contains(want, "CapEff") == strings.Contains(options, "nosuch") {
				t.Errorf("docker run %s, docker exec %s: dockerd has\n%s", r.flags, options, want)
			}
			if is != want {
				t.Errorf("docker run %s, docker exec %s: dockerd has\n%s\nthe engine has\n%s", r.flags, options, want, is)
			}
		}
	}
}

// inside is what a program sees of itself.
func inside(t *testing.T, client, socket, id, options string) string {
	t.Helper()
	args := append([]string{"--host", "unix://" + socket, "exec"}, strings.Fields(options)...)
	cmd := exec.Command(client, append(args, id, "sh", "-c",
		"env | sort; pwd; umask; ulimit -n; cat /proc/self/oom_score_adj; grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status")...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
	out, _ := cmd.CombinedOutput() // Some are to fail, in the same words.
	said := strings.ReplaceAll(strings.ReplaceAll(string(out), id, "ID"), id[:12], "SHORT")
	return strings.ReplaceAll(said, "\r", "")
}
