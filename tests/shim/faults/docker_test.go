package faults_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// docker is a dockerd whose containers are run by a service's containerd, without a network.
type docker struct {
	*service
	t      *testing.T
	client string
}

func (s *service) docker(t *testing.T) *docker {
	t.Helper()
	d := &docker{service: s, t: t, client: compat.Newest(t, "docker")}
	s.write("daemon.json", fmt.Sprintf(`{"runtimes": {"gantry": {"runtimeType": %q}}, "default-runtime": "gantry"}`, s.shim), 0o600)
	program := compat.Newest(t, "dockerd")
	netns := "/run/netns/" + compat.Network(t)
	t.Cleanup(func() {
		for _, name := range []string{"data", "exec/netns/default"} { // dockerd leaves the first, and where it was killed the second
			_ = unix.Unmount(s.path(name), unix.MNT_DETACH)
		}
	})
	compat.Start(t, func() *exec.Cmd {
		cmd := exec.Command("nsenter", "--net="+netns, program, "--config-file", s.path("daemon.json"), "--data-root", s.path("data"),
			"--exec-root", s.path("exec"), "--pidfile", s.path("pid"), "--host", d.host(), "--containerd", s.path("sock"),
			"--containerd-namespace", s.marker, "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+s.marker,
			"--bridge", "none", "--iptables=false", "--ip6tables=false")
		cmd.Env = append(os.Environ(), "PATH="+s.path("bin")+":"+filepath.Dir(program)+":"+os.Getenv("PATH"))
		return cmd
	}, func() error { _, err := d.docker("info"); return err })
	d.must("load", "--input", compat.Image(t, s.dir))
	return d
}

func (d *docker) host() string { return "unix://" + d.path("docker.sock") }

func (d *docker) docker(args ...string) (string, error) {
	cmd := exec.Command(d.client, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.host(), "DOCKER_CONFIG="+d.path("client"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (d *docker) must(args ...string) string {
	d.t.Helper()
	out, err := d.docker(args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// runs runs a container that ends with a code when it gets SIGUSR1, and some seconds have gone by. It returns its pid.
func (d *docker) runs(name string, seconds, code int, options ...string) int {
	d.t.Helper()
	args := append([]string{"run", "--detach", "--name", name, "--network", "none"}, options...)
	id := d.must(append(args, compat.ImageName, "sh", "-c",
		fmt.Sprintf("trap 'sleep %d; exit %d' USR1; while :; do sleep 0.05; done", seconds, code))...)
	d.mu.Lock()
	d.ids = append(d.ids, id)
	d.mu.Unlock()
	var pid int
	if _, err := fmt.Sscan(d.must("inspect", "--format", "{{.State.Pid}}", name), &pid); err != nil {
		d.t.Fatal(err)
	}
	return pid
}

// TestGapDocker has containers of dockerd end while containerd is away. When it is back, docker shows them as ended,
// with their codes, and starts those again that have a policy for it.
func TestGapDocker(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	d := s.docker(t)
	for _, gap := range []struct {
		how    string
		length time.Duration
	}{{"kill", 5 * time.Second}, {"stop", 40 * time.Second}} {
		t.Run(fmt.Sprintf("%s/%v", gap.how, gap.length), func(t *testing.T) {
			pids := []int{d.runs("early", 1, 5), d.runs("late", 4, 6), d.runs("again", 1, 7, "--restart", "on-failure:1"), d.runs("always", 2, 8, "--restart", "always")}
			time.Sleep(harness.Slow(500 * time.Millisecond)) // the shells have set their traps
			if gap.how == "kill" {
				s.daemon.Kill()
			} else {
				s.daemon.Stop()
			}
			for _, pid := range pids {
				if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(gap.length)
			s.daemon.Start()
			back := time.Now()
			for _, c := range []struct{ name, want string }{
				{"early", "exited 5 0"}, {"late", "exited 6 0"}, {"again", "running 0 1"}, {"always", "running 0 1"},
			} {
				got := ""
				if !harness.Until(time.Until(back.Add(90*time.Second)), func() bool {
					got = d.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", c.name)
					return got == c.want
				}) {
					t.Errorf("%s: %q; want %q", c.name, got, c.want)
				}
				t.Logf("%s: %s %v after containerd is back", c.name, got, time.Since(back).Round(100*time.Millisecond))
			}
			d.must("rm", "--force", "early", "late", "again", "always")
		})
	}
}
