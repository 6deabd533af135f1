package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/bootstrap"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// asShim makes this program the shim: start runs /proc/self/exe.
const asShim = "GANTRY_TEST_AS_SHIM"

func TestMain(m *testing.M) {
	if os.Getenv(asShim) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// daemon is what a test says to the shim, as a daemon does.
type daemon struct {
	t         *testing.T
	dir       string // of bundles and of sockets
	socketDir string
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	harness.NeedRoot(t)                      // the score of the OOM killer
	dir, err := os.MkdirTemp("", "gt-shim-") //nolint:usetesting // a socket's path may have 106 bytes
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, socketDir: filepath.Join(dir, "s")}
	t.Cleanup(d.cleanup)
	return d
}

// servers finds the servers by their sockets, which are in this test's folder alone.
func (d *daemon) servers() map[string]int {
	found := map[string]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		args := strings.Split(string(text), "\x00")
		for i, arg := range args {
			if arg == "-socket" && strings.HasPrefix(args[i+1], d.dir) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				found[args[i+1]] = pid
			}
		}
	}
	return found
}

func (d *daemon) cleanup() {
	for _, pid := range d.servers() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Error(err)
	}
}

func (d *daemon) bundle(id, config string) string {
	d.t.Helper()
	dir := filepath.Join(d.dir, id)
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return dir
}

// params is the stdin that 2.3 and later write.
func (d *daemon) params(id string, change func(*bootstrap.BootstrapParams)) []byte {
	d.t.Helper()
	p := &bootstrap.BootstrapParams{InstanceId: id, Namespace: "test", ContainerdGrpcAddress: "/daemon", SocketDir: &d.socketDir}
	if change != nil {
		change(p)
	}
	data, err := p.MarshalVT()
	if err != nil {
		d.t.Fatal(err)
	}
	return data
}

// start runs the action in the bundle.
func (d *daemon) start(id string, stdin []byte) (stdout []byte, stderr string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(30*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-namespace", "test", "-address", "/daemon", "-publish-binary", "/bin/containerd",
		"-id", id, "-later-flag", "value", "-later=x", "start")
	cmd.Dir = filepath.Join(d.dir, id)
	cmd.Env = append(os.Environ(), asShim+"=1", "TTRPC_ADDRESS=/env.ttrpc", "GOMAXPROCS=2")
	cmd.Stdin = bytes.NewReader(stdin)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err // pipes, which have to come to their end
	code := cmd.Run()
	if (code == nil) != (err.Len() == 0) {
		d.t.Errorf("start: %v, and on stderr %q", code, err.String())
	}
	return out.Bytes(), err.String()
}

// mustStart starts as 2.3 and later do, and returns the address.
func (d *daemon) mustStart(id string) string {
	d.t.Helper()
	out, stderr := d.start(id, d.params(id, nil))
	if stderr != "" {
		d.t.Fatal(stderr)
	}
	return d.address(out)
}

func (d *daemon) address(out []byte) string {
	d.t.Helper()
	var result bootstrap.BootstrapResult
	if err := result.UnmarshalVT(out); err != nil || result.Version != 3 || result.Protocol != "ttrpc" {
		d.t.Fatalf("start prints %q", out)
	}
	written, err := os.ReadFile(filepath.Join(d.dir, "c", "address"))
	if err == nil && string(written) != result.Address && !strings.Contains(string(written), "unix://") {
		d.t.Errorf("the address file has %q", written)
	}
	return result.Address
}

func (d *daemon) pid(address string) int {
	d.t.Helper()
	pid := d.servers()[strings.TrimPrefix(address, "unix://")]
	if pid == 0 {
		d.t.Fatalf("nobody serves %s: %v", address, d.servers())
	}
	return pid
}

func TestStart(t *testing.T) {
	d := newDaemon(t)
	dir := d.bundle("c", "{}")
	address := d.mustStart("c")
	pid := d.pid(address)
	client, err := ttrpc.Dial(t.Context(), strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, service := range []string{"containerd.task.v2.Task", "containerd.task.v3.Task"} {
		var answer task.ConnectResponse
		if err := client.Call(t.Context(), service, "Connect", &task.ConnectRequest{Id: "c"}, &answer); err != nil {
			t.Errorf("%s: %v", service, err)
		}
		if int(answer.ShimPid) != pid {
			t.Errorf("%s: shim pid %d, want %d", service, answer.ShimPid, pid)
		}
	}
	if written, err := os.ReadFile(filepath.Join(dir, "address")); err != nil || string(written) != address {
		t.Errorf("the file address has %q, %v", written, err)
	}
	if info, err := os.Stat(strings.TrimPrefix(address, "unix://")); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket: %v %v", info, err)
	}
}

// What the server has is what it needs: nothing of start's descriptors, session, or folder.
func TestServerInherits(t *testing.T) {
	d := newDaemon(t)
	dir := d.bundle("c", "{}")
	if err := unix.Mkfifo(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	pid := d.pid(d.mustStart("c"))
	proc := "/proc/" + strconv.Itoa(pid)
	for fd, want := range map[string]string{"0": "/dev/null", "1": "/dev/null", "2": filepath.Join(dir, "log")} {
		if got, err := os.Readlink(proc + "/fd/" + fd); err != nil || got != want {
			t.Errorf("file %s is %s, want %s: %v", fd, got, want, err)
		}
	}
	if flags, err := os.ReadFile(proc + "/fdinfo/2"); err != nil || !bytes.Contains(flags, []byte("04002")) {
		t.Errorf("the log is not O_RDWR|O_NONBLOCK: %s %v", flags, err)
	}
	if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("cwd %s %v", cwd, err)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d %v, want its own", sid, err)
	}
	env, err := os.ReadFile(proc + "/environ")
	if err != nil || !bytes.Contains(env, []byte("TTRPC_ADDRESS=/env.ttrpc\x00")) || !bytes.Contains(env, []byte("GOMAXPROCS=1\x00")) {
		t.Errorf("environment %q %v", env, err)
	}
	score := func(pid string) int {
		text, err := os.ReadFile("/proc/" + pid + "/oom_score_adj")
		n, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
		if err := errors.Join(err, convErr); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got, want := score(strconv.Itoa(pid)), score("self")+1; got != want {
		t.Errorf("oom_score_adj %d, want %d", got, want)
	}
}

// What a daemon from 2.3 on says in its parameters counts more than the environment.
func TestTTRPCAddress(t *testing.T) {
	d := newDaemon(t)
	d.bundle("c", "{}")
	out, stderr := d.start("c", d.params("c", func(p *bootstrap.BootstrapParams) { p.ContainerdTtrpcAddress = "/stdin.ttrpc" }))
	if stderr != "" {
		t.Fatal(stderr)
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(d.pid(d.address(out))) + "/environ")
	if err != nil || bytes.Contains(env, []byte("/env.ttrpc")) || !bytes.Contains(env, []byte("TTRPC_ADDRESS=/stdin.ttrpc\x00")) {
		t.Errorf("environment %q %v", env, err)
	}
}

// Containers of a group have one server, also when they start at the same time.
func TestStartGroup(t *testing.T) {
	d := newDaemon(t)
	const n = 6
	var (
		addresses [n]string
		wg        sync.WaitGroup
	)
	for i := range n {
		id := "c" + strconv.Itoa(i)
		d.bundle(id, `{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}`)
		wg.Go(func() { addresses[i] = d.mustStart(id) })
	}
	wg.Wait()
	for i, address := range addresses {
		if address != addresses[0] {
			t.Errorf("%s of container %d is not %s of the first", address, i, addresses[0])
		}
	}
	if servers := d.servers(); len(servers) != 1 {
		t.Errorf("servers: %v", servers)
	}
	d.bundle("alone", "{}")
	if d.mustStart("alone") == addresses[0] {
		t.Error("a container of no group has the group's server")
	}
}

func TestStartReplacesDeadServer(t *testing.T) {
	d := newDaemon(t)
	d.bundle("c", "{}")
	address := d.mustStart("c")
	first := d.pid(address)
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !harness.Until(10*time.Second, func() bool {
		conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	}) {
		t.Fatal("the socket is served")
	}
	if again := d.mustStart("c"); again != address || d.pid(again) == first {
		t.Errorf("%s served by %d, want %s by another than %d", again, d.pid(again), address, first)
	}
}

func TestStartRefuses(t *testing.T) {
	tests := []struct {
		name, config string
		stdin        func(*daemon) []byte
		want         string
	}{
		{"garbage on stdin", "{}", func(*daemon) []byte { return []byte("garbage") }, "stdin: its 7 bytes are neither"},
		{"parameters of another", "{}", func(d *daemon) []byte { return d.params("d", nil) }, `bootstrap parameters of container "d"`},
		{"broken config.json", "{", func(d *daemon) []byte { return d.params("c", nil) }, "config.json: unexpected end"},
		{"long directory", "{}", func(d *daemon) []byte {
			long := d.dir + strings.Repeat("/x", 30)
			return d.params("c", func(p *bootstrap.BootstrapParams) { p.SocketDir = &long })
		}, "choose a shorter socket_dir"},
		{"cgroup that is not there", "{}", func(d *daemon) []byte {
			return d.params("c", func(p *bootstrap.BootstrapParams) {
				p.Extensions = []*bootstrap.Extension{{Value: &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: []byte("\x1a\x0c/nonexistent")}}}
			})
		}, "option shim_cgroup: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDaemon(t)
			d.bundle("c", test.config)
			out, stderr := d.start("c", test.stdin(d))
			if len(out) != 0 || !strings.HasPrefix(stderr, "containerd-shim-gantry-v2: ") || !strings.Contains(stderr, test.want) {
				t.Errorf("stdout %q, stderr %q, want %s", out, stderr, test.want)
			}
			if left, _ := os.ReadDir(d.socketDir); len(left) != 0 {
				t.Errorf("sockets are left: %v", left)
			}
			if servers := d.servers(); len(servers) != 0 {
				t.Errorf("servers are left: %v", servers)
			}
		})
	}
}

// Bad options are refused by Create: its errors have classes.
func TestStartTakesBadOptions(t *testing.T) {
	d := newDaemon(t)
	d.bundle("c", "{}")
	out, stderr := d.start("c", d.params("c", func(p *bootstrap.BootstrapParams) {
		p.Extensions = []*bootstrap.Extension{{Value: &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: []byte("\x32\x99")}}}
	}))
	if stderr != "" {
		t.Fatal(stderr)
	}
	d.address(out)
}

// When nobody can be told of the server, there is none.
func TestStartWithoutReader(t *testing.T) {
	d := newDaemon(t)
	dir := d.bundle("c", "{}")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := exec.Command("/proc/self/exe", "-namespace", "test", "-id", "c", "start")
	cmd.Dir, cmd.Env, cmd.Stdout = dir, append(os.Environ(), asShim+"=1"), full
	cmd.Stdin = bytes.NewReader(d.params("c", nil))
	if err := cmd.Run(); err == nil {
		t.Error("start succeeds")
	}
	if left, _ := os.ReadDir(d.socketDir); len(left) != 0 || len(d.servers()) != 0 {
		t.Errorf("left: %v %v", left, d.servers())
	}
}

func TestAnswersOfOldDaemons(t *testing.T) {
	d := newDaemon(t)
	d.bundle("c", "{}")
	// Their sockets are in one folder of the machine.
	out, stderr := d.start("c", nil)
	if stderr != "" || !bytes.HasPrefix(out, []byte("unix:///run/containerd/s/")) || bytes.ContainsAny(out, "\n{") {
		t.Fatalf("1.6 reads %q, %q", out, stderr)
	}
	path := strings.TrimPrefix(string(out), "unix://")
	t.Cleanup(func() { _ = os.Remove(path) })
	client, err := ttrpc.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var answer task.ConnectResponse
	if err := client.Call(t.Context(), "containerd.task.v2.Task", "Connect", &task.ConnectRequest{Id: "c"}, &answer); err != nil {
		t.Fatal(err)
	}
	_ = unix.Kill(int(answer.ShimPid), unix.SIGKILL)
}

func TestFeaturesAreJSON(t *testing.T) {
	harness.NeedRoot(t)
	runtime := harness.Runtime(t)
	answer := runtimeInfo(t, &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: append([]byte{0x32, byte(len(runtime))}, runtime...)})
	if answer.Name != "io.containerd.gantry.v2" || answer.Version.GetVersion() == "" || answer.Options.GetTypeUrl() != "containerd.runc.v1.Options" {
		t.Errorf("info: %+v", answer)
	}
	var features struct{ OciVersionMin string }
	if err := json.Unmarshal(answer.Features.GetValue(), &features); err != nil || features.OciVersionMin == "" ||
		answer.Features.TypeUrl != "types.containerd.io/opencontainers/runtime-spec/1/features/Features" {
		t.Errorf("features: %v %v", answer.Features, err)
	}
}
