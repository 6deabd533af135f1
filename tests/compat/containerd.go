package compat

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Generation is a series of containerd.
type Generation string

// The series that differ in how they start a shim: 1.6 is Debian's, 2.4 the newest. Gantry is our manager in
// containerd's place, with the newest ctr.
const (
	Containerd16 Generation = "1.6"
	Containerd17 Generation = "1.7"
	Containerd22 Generation = "2.2"
	Containerd24 Generation = "2.4"
	Gantry       Generation = "gantry"
)

// Generations are all of containerd's.
var Generations = []Generation{Containerd16, Containerd17, Containerd22, Containerd24}

// Program returns the path of containerd, ctr or containerd-shim-runc-v2 of this series.
func (g Generation) Program(t testing.TB, name string) string {
	t.Helper()
	switch g {
	case Containerd16:
		return Debian(t, name)
	case Containerd24:
		return Newest(t, name)
	case Gantry:
		if name == "containerd" {
			return Manager(t)
		}
		return Newest(t, name)
	case Containerd17, Containerd22:
	}
	path := filepath.Join(harness.Top(), ".tools", "clients", "containerd-"+string(g), "bin", name)
	if !exists(path) {
		missing(t, name+" "+string(g))
	}
	return path
}

// Manager is the manager under test: $GANTRY_MANAGER (a path, or "upstream" for the newest containerd, to prove a
// test), or bin/gantry-manager of this tree.
func Manager(t testing.TB) string {
	t.Helper()
	switch path := os.Getenv("GANTRY_MANAGER"); path {
	case "upstream":
		return Newest(t, "containerd")
	case "":
		path = filepath.Join(harness.Top(), "bin", "gantry-manager")
		if !exists(path) {
			t.Fatalf("no %s: run make build first", path)
		}
		return path
	default:
		return path
	}
}

// Engine is the engine under test: $GANTRY_ENGINE (a path), or bin/gantry-engine of this tree.
func Engine(t testing.TB) string {
	t.Helper()
	path := os.Getenv("GANTRY_ENGINE")
	if path == "" {
		path = filepath.Join(harness.Top(), "bin", "gantry-engine")
	}
	if !exists(path) {
		t.Fatalf("no %s: run make build first", path)
	}
	return path
}

// Upstream says whether this is a containerd, be it in the place of our manager.
func (g Generation) Upstream() bool { return g != Gantry || os.Getenv("GANTRY_MANAGER") == "upstream" }

// The configurations keep containerd out of the machine's own places, as far as each version
// can. The plugins that are off serve kubelets, or write elsewhere.
const (
	config1 = `version = 2
root = "$DIR/root"
state = "$DIR/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "$DIR/sock"
`
	config22 = `version = 3
root = "$DIR/root"
state = "$DIR/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "$DIR/sock"
[ttrpc]
address = "$DIR/sock.ttrpc"
`
	config24 = `version = 4
root = "$DIR/root"
state = "$DIR/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
]
[plugins."io.containerd.server.v1.grpc"]
address = "$DIR/sock"
[plugins."io.containerd.server.v1.ttrpc"]
address = "$DIR/sock.ttrpc"
[plugins."io.containerd.shim.v1.manager"]
socket_dir = "$DIR/s"
`
)

func (g Generation) config(dir string) string {
	text := map[Generation]string{Containerd16: config1, Containerd17: config1, Containerd22: config22, Containerd24: config24, Gantry: config24}[g]
	return os.Expand(text, func(string) string { return dir })
}

// ctrScript is the scripts' ctr. It adds the options that choose the OCI runtime and keep its
// state and the terminals out of the machine's own places. ctr forgets the output of a
// program that ends before ctr has come so far as to open its end of the pipe, which on a
// busy machine happens with any runtime: it is hurried. It refuses to name an OCI runtime to
// any shim but runc's, so where a script asks for another the OCI runtime is bin/runc.
const ctrScript = `#!/bin/sh
CTR="nice -n -15 $CTR"
runtime="--runc-binary=$RUNC --runc-root=$RUNC_ROOT" fifos=--fifo-dir=$FIFOS
case " $* " in *" --runtime"*) runtime=;; esac
case " $* " in *" --log-uri"*) fifos=;; esac
case "$1 $2" in
"run "*) shift; exec $CTR run $runtime $fifos "$@";;
"t exec" | "t start") verb=$2; shift 2; exec $CTR tasks $verb $fifos "$@";;
esac
exec $CTR "$@"
`

// Shim is the shim under test: $GANTRY_SHIM (a path, or "upstream" for that of containerd's own
// series, to prove a test), or bin/containerd-shim-gantry-v2 of this tree.
func Shim(t testing.TB, g Generation) string {
	t.Helper()
	switch path := os.Getenv("GANTRY_SHIM"); path {
	case "upstream":
		return g.Program(t, "containerd-shim-runc-v2")
	case "":
		path = filepath.Join(harness.Top(), "bin", "containerd-shim-gantry-v2")
		if !exists(path) {
			t.Fatalf("no %s: run make build first", path)
		}
		return path
	default:
		return path
	}
}

// Containerd is a containerd in a folder of its own.
type Containerd struct {
	*Daemon
	Generation Generation
	Dir        string // Dir/root, Dir/state, Dir/sock, Dir/s, Dir/bin …
	Marker     string // in the name of all it makes: namespaces, cgroups, paths
	Own        bool   // the shim is the one of its series
	t          testing.TB
	program    string
	down       bool // a script has stopped it
	clients    []*Client
}

// StartContainerd starts the series' containerd with a shim, which runs as
// io.containerd.runc.v2 (so that ctr hands it runc's options) and as io.containerd.gantry.v2.
// At the test's end it demands that nothing is left: containers, processes, mounts, cgroups,
// sockets, fifos and bundles. What is to be done in its folder before it starts is called with the folder's path; the
// cleanup that it registers with t runs when the daemon has stopped.
func StartContainerd(t testing.TB, g Generation, shim string, before ...func(dir string)) *Containerd {
	t.Helper()
	return StartContainerdOn(t, g, shim, "", before...)
}

// StartContainerdOn is StartContainerd with the root directory, which holds what outlives the machine's restart, below
// another directory than the rest: on another file system. "" is where the rest is.
func StartContainerdOn(t testing.TB, g Generation, shim, disk string, before ...func(dir string)) *Containerd {
	t.Helper()
	program := g.Program(t, "containerd")
	dir, err := os.MkdirTemp("", "gt-ctrd-") //nolint:usetesting // a socket's path has to be shorter than 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, dir) })
	harness.Reachable(t, dir)
	c := &Containerd{Generation: g, Dir: dir, Marker: filepath.Base(dir), t: t, program: program}
	c.Own = shim == g.Program(t, "containerd-shim-runc-v2")
	// All that the containers have has the marker in its path, or in the command that started it.
	CheckLeftovers(t, c.Marker)
	// Containerd's own shim of 2.x leaves some when creating fails, and containerd those of shims that died.
	if !c.Own && !(g == Gantry && g.Upstream()) {
		checkSockets(t, c.in("s"), "/run/containerd/s")
	}
	if disk != "" {
		c.placeRoot(filepath.Join(disk, c.Marker))
	}
	c.write("config.toml", g.config(dir), 0o600)
	c.write("bin/ctr", ctrScript, 0o755)
	for name, program := range map[string]string{
		"containerd-shim-runc-v2": shim, "containerd-shim-gantry-v2": shim, "runc": harness.Runtime(t),
	} {
		if err := os.Symlink(program, c.in("bin/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range before {
		f(dir)
	}
	c.Daemon = Start(t, func() *exec.Cmd {
		return command(c.environment(), c.program, c.arguments()...)
	}, func() error { return command(c.environment(), c.in("bin/ctr"), "version").Run() })
	t.Cleanup(c.removeContainers)
	return c
}

// placeRoot makes the root directory elsewhere, and a link to it.
func (c *Containerd) placeRoot(path string) {
	c.t.Helper()
	c.t.Cleanup(func() { removeAll(c.t, path) })
	err := os.Mkdir(path, 0o711)
	if err == nil {
		err = os.Symlink(path, c.in("root"))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// arguments are the daemon's. Ours is told its places twice, as containerd's own suite of tests tells them.
func (c *Containerd) arguments() []string {
	var args []string
	level := "debug"
	if _, measured := c.t.(*testing.B); measured {
		level = "info" // as the others
	}
	if c.Generation == Gantry {
		args = []string{"--root", c.in("root"), "--state", c.in("state"), "--address", c.in("sock"), "--log-level", level}
	}
	return append(args, "--config", c.in("config.toml"))
}

func (c *Containerd) in(name string) string { return filepath.Join(c.Dir, name) }

func (c *Containerd) write(name, content string, mode os.FileMode) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.in(name)), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.in(name), []byte(content), mode); err != nil {
		c.t.Fatal(err)
	}
}

// environment is what ctr and containerd want to know.
func (c *Containerd) environment() map[string]string {
	return map[string]string{
		"CONTAINERD_ADDRESS": c.in("sock"),
		"CTR":                c.Generation.Program(c.t, "ctr"),
		"PATH":               c.in("bin") + ":" + filepath.Dir(c.program) + ":" + os.Getenv("PATH"),
	}
}

// Upgrade replaces the containerd by that of another series, in place.
func (c *Containerd) Upgrade(g Generation) {
	c.t.Helper()
	c.Stop()
	c.Generation, c.program = g, g.Program(c.t, "containerd")
	c.write("config.toml", g.config(c.Dir), 0o600)
	for _, client := range c.clients {
		maps.Copy(client.Env, c.environment())
	}
	c.Start()
}

// removeContainers removes what a test that failed has left, and demands that the others
// have left nothing.
func (c *Containerd) removeContainers() {
	if c.down {
		c.Start()
	}
	for _, client := range c.clients {
		for _, what := range client.remove("") {
			if !c.t.Failed() {
				c.t.Errorf("left behind: %s", what)
			}
		}
	}
}

// removeAll removes the folder. What is mounted in it, and what still runs, has been reported: a
// shim that has events to tell would wait for its containerd for ever.
func removeAll(t testing.TB, dir string) {
	t.Helper()
	for _, pid := range withMarker(filepath.Base(dir)) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if target := strings.Fields(line)[4]; strings.HasPrefix(target, dir) {
			_ = unix.Unmount(target, unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	// Where ctr can't be told where, the shim has made empty directories for states.
	states, _ := filepath.Glob("/run/containerd/runc/" + filepath.Base(dir) + "*")
	for _, d := range states {
		if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}
