package attack_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/tests/harness"
)

// docker runs the command line client, and gives what it wrote.
func (v *victim) docker(args ...string) string {
	v.t.Helper()
	out, err := v.Inside(append([]string{"timeout", "120", "docker"}, args...)...).CombinedOutput()
	if err != nil {
		v.t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// reached asks a container's server until it answers: by its published port, and by its name from another container.
func (v *victim) reached(when string) {
	v.t.Helper()
	var out []byte
	if !harness.Until(patience, func() bool {
		out, _ = v.Inside("timeout", "5", "busybox", "wget", "-qO-", "http://127.0.0.1:8080").CombinedOutput()
		return string(out) == "hello\n"
	}) {
		v.t.Errorf("%s: the published port: %s", when, out)
	}
	if got := v.docker("run", "--rm", "--network", "net1", busybox, "timeout", "20", "wget", "-qO-", "http://web"); got != "hello" {
		v.t.Errorf("%s: by name: %s", when, got)
	}
}

// inside is what a running container sees of its network.
func (v *victim) inside(when, want string) {
	v.t.Helper()
	const see = "ls /sys/class/net | tr '\\n' ' '; stat -c %u:%g /etc/hosts /etc/resolv.conf /etc/hostname | sort -u; grep -cw web /etc/hosts"
	if got := strings.Join(strings.Fields(v.docker("exec", "web", "sh", "-c", see)), " "); got != want {
		v.t.Errorf("%s: %q, want %q", when, got, want)
	}
}

// TestNetworksOfOwnUsers gives containers with users of their own what others have of networks: their network namespaces
// belong to these users.
func TestNetworksOfOwnUsers(t *testing.T) {
	ranges(t)
	v := start(t, "--userns-remap=default")
	const see = "ls /sys/class/net | tr '\\n' ' '; ping -c 1 127.0.0.1 | grep -c ttl; ip -o -4 addr show scope global | wc -l"
	for network, want := range map[string]string{"none": "lo 1 0", "bridge": "eth0 lo 1 1"} {
		if got := strings.Join(strings.Fields(v.docker("run", "--rm", "--network", network, busybox, "sh", "-c", see)), " "); got != want {
			t.Errorf("%s: %q, want %q", network, got, want)
		}
	}
	v.docker("network", "create", "net1")
	v.docker("run", "-d", "--name", "web", "--hostname", "web", "--network", "net1", "--publish", "127.0.0.1:8080:80", busybox,
		"sh", "-c", "mkdir -p /www; echo hello > /www/index.html; exec httpd -f -h /www")
	v.inside("started", "eth0 lo 0:0 1")
	v.reached("started")
	if got := v.docker("run", "--rm", "--network", "container:web", busybox, "sh", "-c", "wget -qO- http://127.0.0.1; ls /sys/class/net"); got != "hello\neth0\nlo" {
		t.Errorf("who joins it: %q", got)
	}
	v.docker("network", "connect", "bridge", "web")
	v.inside("connected", "eth0 eth1 lo 0:0 2")
	v.Dockerd.Kill()
	v.Dockerd.Start()
	v.inside("adopted", "eth0 eth1 lo 0:0 2")
	v.reached("adopted")
	v.docker("network", "disconnect", "bridge", "web")
	v.inside("disconnected", "eth0 lo 0:0 1")
	v.docker("restart", "--time", "0", "web")
	v.inside("restarted", "eth0 lo 0:0 1")
	v.reached("restarted")
	// A start that fails takes all back, and leaves the others alone.
	out, err := v.Inside("docker", "run", "--rm", "--network", "net1", "--publish", "127.0.0.1:8080:80", busybox, "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "port is already allocated") {
		t.Errorf("a port that is taken: %v: %s", err, out)
	}
	v.reached("after another's failure")
	v.docker("rm", "--force", "web")
	v.docker("network", "rm", "net1")
	var left []string
	if !harness.Until(patience, func() bool { left = v.namespaces(); return len(left) == 0 }) {
		t.Errorf("namespaces are left: %v", left)
	}
}

// namespaces are the files of containers' network namespaces.
func (v *victim) namespaces() (list []string) {
	v.t.Helper()
	entries, err := os.ReadDir(filepath.Join(v.path("exec"), "100000.100000", "netns"))
	if err != nil {
		v.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "default" {
			list = append(list, e.Name())
		}
	}
	return list
}
