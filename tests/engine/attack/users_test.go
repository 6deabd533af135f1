package attack_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// ranges gives the machine users with ranges of ids.
func ranges(t *testing.T) {
	t.Helper()
	for file, line := range map[string]string{"/etc/passwd": "dockremap:x:990:990::/:/bin/false\n", "/etc/group": "dockremap:x:990:\n"} {
		old, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, string(old)+line)
		t.Cleanup(func() { write(t, file, string(old)) })
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		write(t, file, "dockremap:100000:65536\npool:1000000:196608\n")
	}
}

// escape is what root of a container tries that found a folder of the host.
const escape = "exec 2>&1; cd /host; echo x > file; chown 0:0 mine; cat secret; mknod dev b 8 0; chmod 4755 theirs; id -u; stat -c %u theirs"

// TestCVE_2021_21284 has root of a container that is remapped write to the engine's own folders, and to what root of the host owns.
func TestCVE_2021_21284(t *testing.T) {
	ranges(t)
	v := start(t, "--userns-remap=default")
	host := v.path("host")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host, "secret"), "hidden")
	write(t, filepath.Join(host, "theirs"), "")
	if err := os.Chmod(filepath.Join(host, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := want(escape)
	o.HostConfig.Binds = []string{host + ":/host"}
	out := v.run(o)
	if !strings.HasSuffix(out, "\n0\n65534\n") || strings.Contains(out, "hidden") {
		t.Errorf("root of the container: %s", out)
	}
	for _, made := range []string{"file", "dev"} {
		if _, err := os.Lstat(filepath.Join(host, made)); err == nil {
			t.Errorf("root of the container made %s on the host", made)
		}
	}
	o = want(escape)
	o.HostConfig.Binds, o.HostConfig.UsernsMode = []string{host + ":/host"}, "host"
	if out := v.run(o); !strings.Contains(out, "hidden") {
		t.Errorf("nothing was tried: not even root of the host could: %s", out)
	}
	v.foreignRoot(100000)
	v.refusesRoot()
}

// foreignRoot has the ids of a container's root write to the engine's folders, as a process that broke out would.
func (v *victim) foreignRoot(uid uint32) {
	v.t.Helper()
	data := filepath.Join(v.path("data"), strconv.Itoa(int(uid))+"."+strconv.Itoa(int(uid)))
	if id, err := v.try(want("sleep 1000")); err != nil {
		v.t.Error(err)
	} else {
		v.remove(id)
	}
	for _, path := range []string{data, "containers", "volumes", "manager", "networks"} {
		if path != data {
			path = filepath.Join(data, path)
		}
		if _, err := os.Stat(path); err != nil {
			v.t.Errorf("nothing was tried: %v", err)
		}
		if out, err := as(uid, "touch", path+"/x"); err == nil {
			v.t.Errorf("root of a container writes to %s: %s", path, out)
		}
		if out, err := as(uid, "mv", path, path+"-x"); err == nil {
			v.t.Errorf("root of a container moves %s: %s", path, out)
		}
	}
}

// refusesRoot asks for what would give a container the host's users back.
func (v *victim) refusesRoot() {
	v.t.Helper()
	for name, hc := range map[string]container.HostConfig{
		"privileged mode is incompatible with user namespaces":                       {NetworkMode: "none", Privileged: true},
		"cannot share the host's network namespace when user namespaces are enabled": {NetworkMode: "host"},
		"cannot share the host PID namespace when user namespaces are enabled":       {NetworkMode: "none", PidMode: "host"},
		"": {NetworkMode: "none", Privileged: true, UsernsMode: "host"},
	} {
		o := want("true")
		o.HostConfig = &hc
		_, err := v.output(o)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			v.t.Errorf("%v, want %q", err, name)
		}
	}
}

// TestOwnUsers has containers with ranges of their own try each other, and share a volume all the same.
func TestOwnUsers(t *testing.T) {
	ranges(t)
	v := start(t, "--userns-pool=pool", "--userns-per-container")
	o := want("umask 0; echo one > /v/one; chown 5:5 /v/one; cat /proc/self/uid_map; sleep 1000")
	o.Name, o.HostConfig.Binds = "one", []string{"shared:/v"}
	one, err := v.try(o)
	if err != nil {
		t.Fatal(err)
	}
	v.remove(one)
	if !harness.Until(patience, func() bool { return strings.Contains(v.logs(one), "1000000") }) {
		t.Fatalf("its ids are not of the pool: %s", v.logs(one))
	}
	o = want("cat /proc/self/uid_map; stat -c %u:%g /v/one")
	o.HostConfig.Binds = []string{"shared:/v"}
	if out := strings.Fields(v.run(o)); len(out) != 4 || out[1] != "1065536" || out[3] != "5:5" {
		t.Errorf("the other: %q", out)
	}
	r, err := v.ContainerInspect(limited(t), one, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(r.Container.State.Pid)
	// As the second's root with all of its ids: what it could do to the first if it saw its processes.
	for _, uid := range []uint32{1065536, 1000000} {
		out, err := as(uid, "kill", "-0", pid)
		if got := err == nil; got != (uid == 1000000) {
			t.Errorf("%d reaches the first: %v %s", uid, got, out)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(v.path("data"), "volumes/shared/_data/one"), &st); err != nil || st.Uid != 5 {
		t.Errorf("on disk it is %d's: %v", st.Uid, err)
	}
	v.refusesRoot()
}

// TestRemapOverContainerd has managers mount the mapped layers that know nothing of it.
func TestRemapOverContainerd(t *testing.T) {
	ranges(t)
	for i := range docker.Releases {
		t.Run(docker.Releases[i].Name, func(t *testing.T) {
			v := over(t, &docker.Releases[i], docker.Setup{Engine: true, Containerd: true, Args: []string{"--userns-remap=default"}})
			o := want("cat /proc/self/uid_map; touch /x /v/y; stat -c %u /x /v/y /bin")
			o.HostConfig.Binds = []string{"vol:/v"}
			if out := strings.Fields(v.run(o)); strings.Join(out, " ") != "0 100000 65536 0 0 0" {
				t.Errorf("%q", out)
			}
		})
	}
}
