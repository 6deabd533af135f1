// Package docker has the tests that drive dockerd with bin/runc as its runtime.
package docker

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// programs are what a release is made of.
var programs = []string{"docker", "dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2", "ctr"}

// Release is one version of Docker with the containerd below it.
type Release struct {
	Name string // a prefix of what `docker version` says
	find func(t testing.TB, program string) string
	// The version of containerd's configuration, and its plug-in for Kubernetes, which
	// would want a network configuration.
	config int
	cri    []string
}

// Releases are Debian's and the newest.
var Releases = []Release{
	{"20.10", compat.Debian, 2, []string{"io.containerd.grpc.v1.cri"}},
	{"29", compat.Newest, 3, []string{
		"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
	}},
}

// Engine is a dockerd, in a folder and a network namespace of its own.
type Engine struct {
	t       testing.TB
	release *Release
	setup   Setup
	dir     string // short: sockets are below it, and their paths have 108 bytes at most
	netns   string // a file
	// The name of the folder and of the cgroup of all containers: without a dash, at which
	// systemd would split the name of a slice.
	mark     string
	program  string // is started below dockerd
	Dockerd  *compat.Daemon
	Below    *compat.Daemon // what serves containerd's API; nil where dockerd started it
	registry string         // its address in the network namespace, if there is one
	private  string         // and that of one that wants a password
}

// Setup is what tests want different.
type Setup struct {
	Enter      []string // the command that runs the daemon; the daemon's own is appended
	Containerd bool     // the release's; dockerd starts one of its own otherwise
	Manager    bool     // compat.Manager in the place of containerd
	Engine     bool     // compat.Engine in the place of dockerd
	BuildKit   bool     // the newest, beside it, and buildx and compose for the client
	Shim       string   // path of what is found as containerd-shim-runc-v2; "": the release's
	Systemd    bool     // the cgroup driver; otherwise it is cgroupfs
	Args       []string // of dockerd
}

// Start starts the daemon and gives it the image.
func Start(t testing.TB, r *Release, s Setup) *Engine {
	t.Helper()
	harness.NeedRoot(t)
	for _, program := range programs {
		r.find(t, program)
	}
	dir, err := os.MkdirTemp("", "gtdocker") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the root of a user namespace has to come through
		t.Fatal(err)
	}
	e := &Engine{t: t, release: r, setup: s, dir: dir, mark: filepath.Base(dir)}
	compat.CheckLeftovers(t, e.mark)
	t.Cleanup(e.remove)
	t.Cleanup(removeNewSockets())
	e.netns = "/run/netns/" + compat.Network(t)
	e.links()
	// The machine's own must not be read, and one that is named must exist.
	if err := os.WriteFile(e.file("daemon.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.Containerd || s.Manager {
		e.startBelow()
	}
	e.Dockerd = compat.Start(t, e.dockerdCommand, func() error { return e.Docker("info") })
	t.Cleanup(e.removeContainers)
	if err := e.Docker("load", "--input", compat.Image(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	return e
}

// links makes a folder for $PATH in which this release's programs are the first of their names, or the setup's are.
func (e *Engine) links() {
	e.t.Helper()
	if err := os.Mkdir(e.file("bin"), 0o755); err != nil {
		e.t.Fatal(err)
	}
	links := map[string]string{}
	for _, program := range programs {
		links[program] = e.release.find(e.t, program)
	}
	if e.setup.Shim != "" {
		links["containerd-shim-runc-v2"] = e.setup.Shim
	}
	if e.setup.Manager {
		links["containerd-shim-gantry-v2"], links["runc"] = compat.Shim(e.t, compat.Containerd24), harness.Runtime(e.t)
	}
	if e.setup.Engine {
		links["dockerd"] = compat.Engine(e.t)
		// It starts a manager itself where none is named.
		links["gantry-manager"], links["containerd-shim-gantry-v2"], links["runc"] = compat.Manager(e.t), compat.Shim(e.t, compat.Containerd24), harness.Runtime(e.t)
	}
	if e.setup.BuildKit {
		e.buildKit(links)
	}
	for name, program := range links {
		if err := os.Symlink(program, filepath.Join(e.file("bin"), name)); err != nil {
			e.t.Fatal(err)
		}
	}
}

// buildKit adds the client's plugins, and for our engine the daemon.
func (e *Engine) buildKit(links map[string]string) {
	e.t.Helper()
	if e.setup.Engine {
		links["buildkitd"] = compat.Newest(e.t, "buildkitd")
	}
	plugins := e.file("client/cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		e.t.Fatal(err)
	}
	for _, plugin := range []string{"docker-buildx", "docker-compose"} {
		if err := os.Symlink(compat.Newest(e.t, plugin), filepath.Join(plugins, plugin)); err != nil {
			e.t.Fatal(err)
		}
	}
}

func (e *Engine) file(name string) string { return filepath.Join(e.dir, name) }

func (e *Engine) path() string { return e.file("bin") + ":" + os.Getenv("PATH") }

// inNetns is a command in the network namespace. `ip netns exec` would hide the cgroups: it
// mounts a /sys of the namespace.
func (e *Engine) inNetns(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=" + e.netns}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+e.path())
	return cmd
}

// startBelow starts what dockerd is told to use.
func (e *Engine) startBelow() {
	e.t.Helper()
	e.below(e.setup.Manager)
	e.Below = compat.Start(e.t,
		func() *exec.Cmd { return e.inNetns(e.program, "--config", e.file("config.toml")) },
		func() error { return exec.Command(e.file("bin/ctr"), "--address", e.socket(), "version").Run() })
}

// below says what is started below dockerd, our manager or containerd.
func (e *Engine) below(manager bool) {
	e.t.Helper()
	config := compat.ManagerConfig(e.dir)
	if manager {
		e.program = compat.Manager(e.t)
	} else {
		e.program = "containerd"
		disabled, err := json.Marshal(e.release.cri)
		if err != nil {
			e.t.Fatal(err)
		}
		config = fmt.Sprintf("version = %d\nroot = %q\nstate = %q\ndisabled_plugins = %s\n[grpc]\naddress = %q\n",
			e.release.config, e.file("root"), e.file("state"), disabled, e.socket())
	}
	if err := os.WriteFile(e.file("config.toml"), []byte(config), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// Replace is a script's command, `replace manager|containerd`: what is below dockerd, and has been ended, is started
// again as our manager or as containerd, on the same directories and socket.
func (e *Engine) Replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "manager" && args[0] != "containerd" {
		ts.Fatalf("usage: replace manager|containerd")
	}
	e.below(args[0] == "manager")
	ts.Check(e.Below.Restart())
}

// Registry starts a registry in the network namespace.
func (e *Engine) Registry() {
	e.t.Helper()
	e.registry = "127.0.0.1:5000"
	compat.Registry(e.t, e.registry, e.inNetns)
}

// PrivateRegistry starts one that wants compat.RegistryPassword of compat.RegistryUser.
func (e *Engine) PrivateRegistry() {
	e.t.Helper()
	e.private = "127.0.0.1:5001"
	compat.PrivateRegistry(e.t, e.private, e.inNetns)
}

func (e *Engine) socket() string { return e.file("sock") }

func (e *Engine) dockerdCommand() *exec.Cmd {
	_ = os.Remove(e.file("pid")) // stays when the daemon is killed, and its number may be another's now
	args := append(slices.Clone(e.setup.Enter),
		"dockerd", "--config-file", e.file("daemon.json"), "--data-root", e.file("data"),
		"--exec-root", e.file("exec"), "--pidfile", e.file("pid"), "--host", e.host(),
		"--add-runtime", "gantry="+harness.Runtime(e.t), "--default-runtime", "gantry")
	if e.Below != nil {
		args = append(args, "--containerd", e.socket())
	}
	if e.setup.Systemd {
		args = append(args, "--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", e.slice())
	} else {
		args = append(args, "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+e.mark)
	}
	return e.inNetns(append(args, e.setup.Args...)...)
}

func (e *Engine) slice() string { return e.mark + ".slice" }

func (e *Engine) host() string { return "unix://" + e.file("d.sock") }

// Host is the address that clients are told.
func (e *Engine) Host() string { return e.host() }

// Socket is the path of the engine's socket.
func (e *Engine) Socket() string { return e.file("d.sock") }

// Environment is what a client's command needs.
func (e *Engine) Environment() []string {
	return []string{
		"DOCKER_HOST=" + e.host(), "DOCKER_CONFIG=" + e.file("client"), "DOCKER_BUILDKIT=0", "PATH=" + e.path(),
		"IMG=" + imageName, "NETNS=" + e.netns, "PARENT=" + e.mark, "REGISTRY=" + e.registry,
		"PRIVATE=" + e.private,
	}
}

// Parent is the cgroup of all containers.
func (e *Engine) Parent() string { return "/" + e.mark }

// Containerd is the address of what serves containerd's API.
func (e *Engine) Containerd() string { return e.socket() }

// Bundles is where containerd has the bundles of running containers, in a folder for each namespace.
func (e *Engine) Bundles() string {
	return filepath.Join(e.file("state"), "io.containerd.runtime.v2.task")
}

// Beside starts another daemon beside dockerd, in the same network namespace.
func (e *Engine) Beside(t testing.TB, ready func() error, args ...string) {
	t.Helper()
	compat.Start(t, func() *exec.Cmd { return e.inNetns(args...) }, ready)
}

// Inside is the command of a client that talks to what runs beside the engine, in its network namespace.
func (e *Engine) Inside(args ...string) *exec.Cmd {
	cmd := e.inNetns(args...)
	cmd.Env = append(cmd.Env, e.Environment()...)
	return cmd
}

// Docker runs the command line client.
func (e *Engine) Docker(args ...string) error {
	cmd := exec.Command(e.file("bin/docker"), args...)
	cmd.Env = append(os.Environ(), e.Environment()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
