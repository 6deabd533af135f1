package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/cgroup1"
	"github.com/gantry-containers/gantry/shim/api/cgroup2"
	"github.com/gantry-containers/gantry/shim/api/cri"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/api/sandbox"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/reap"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// namespaceName is containerd's, and the parent of the cgroups.
const namespaceName = "gantry-sandbox-test"

func TestMain(m *testing.M) {
	if err := reap.Subreaper(); err != nil {
		panic(err)
	}
	code := m.Run()
	removeCgroup(namespaceName)
	os.Exit(code)
}

// fixture is a service with the bundle of one sandbox.
type fixture struct {
	*Service
	id, bundle, root string
	released         int
}

// fixtures counts them.
var fixtures atomic.Int32

// newFixture makes a bundle as containerd does, with the options that `start` keeps. Spec is config.json; empty for
// none, as the CRI plugin has it.
func newFixture(t *testing.T, spec string) *fixture {
	t.Helper()
	f := &fixture{bundle: t.TempDir(), root: t.TempDir()}
	f.id = fmt.Sprintf("sandbox-%d-%d", os.Getpid(), fixtures.Add(1))
	// The root of a user namespace must come through.
	if err := os.Chmod(filepath.Dir(f.bundle), 0o711); err != nil {
		t.Fatal(err)
	}
	f.Service = &Service{Namespace: namespaceName, Released: func() { f.released++ }}
	if err := os.Mkdir(filepath.Join(f.bundle, "rootfs"), 0o711); err != nil {
		t.Fatal(err)
	}
	if spec != "" {
		f.write(t, "config.json", spec)
	}
	return f
}

func (f *fixture) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.bundle, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// useRuntime sets the options, and cleans up behind a test that fails.
func (f *fixture) useRuntime(t *testing.T, binary string) {
	t.Helper()
	value, err := (&options.Options{BinaryName: binary, Root: f.root}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(f.bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetOptions(&known.Any{TypeUrl: bundle.OptionsType, Value: value}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := f.shutdown(context.Background(), &sandbox.ShutdownSandboxRequest{SandboxId: f.id}); err != nil {
			t.Error(err)
		}
	})
}

// request is CreateSandbox's.
func (f *fixture) request() *sandbox.CreateSandboxRequest {
	return &sandbox.CreateSandboxRequest{SandboxId: f.id, BundlePath: f.bundle}
}

// up creates and starts the sandbox with a real runtime, and returns the pid of its process.
func (f *fixture) up(t *testing.T, r *sandbox.CreateSandboxRequest) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	f.useRuntime(t, harness.Runtime(t))
	if _, err := f.create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	answer, err := f.start(t.Context(), &sandbox.StartSandboxRequest{SandboxId: f.id})
	if err != nil {
		t.Fatal(err)
	}
	return int(answer.Pid)
}

func (f *fixture) mustStatus(t *testing.T) *sandbox.SandboxStatusResponse {
	t.Helper()
	answer, err := f.status(t.Context(), &sandbox.SandboxStatusRequest{SandboxId: f.id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// nothingLeft fails the test when the sandbox has left a process, a cgroup, a runtime's state or a file of its own.
func (f *fixture) nothingLeft(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("process %d is left: %v", pid, err)
	}
	if _, err := os.Stat(filepath.Join(f.bundle, folder)); err == nil {
		t.Error("the pause process's folder is left")
	}
	if left, err := filepath.Glob(filepath.Join(f.root, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("states are left: %q, %v", left, err)
	}
	if left, err := filepath.Glob("/sys/fs/cgroup/*/" + namespaceName + "/" + f.id); err != nil || len(left) > 0 {
		t.Errorf("cgroups are left: %q, %v", left, err)
	}
}

// config makes the options that the CRI plugin gives.
func config(t *testing.T, c *cri.PodSandboxConfig) *known.Any {
	t.Helper()
	value, err := c.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return &known.Any{TypeUrl: configType, Value: value}
}

func linuxConfig(o *cri.NamespaceOption) *cri.LinuxPodSandboxConfig {
	return &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: o}}
}

// netns makes a named network namespace as the CRI plugin does.
func netns(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("gantry-sandbox-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	return "/run/netns/" + name
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st.Ino
}

// ownNamespaces are those in which a process does not share this one's.
func ownNamespaces(t *testing.T, pid int) string {
	t.Helper()
	var own []string
	for _, kind := range []string{"ipc", "mnt", "net", "pid", "user", "uts"} {
		if inode(t, fmt.Sprintf("/proc/%d/ns/%s", pid, kind)) != inode(t, "/proc/self/ns/"+kind) {
			own = append(own, kind)
		}
	}
	return strings.Join(own, " ")
}

func TestNamespaces(t *testing.T) {
	mapping := []*cri.IDMapping{{ContainerId: 0, HostId: 100000, Length: 65536}}
	tests := map[string]struct {
		spec   string
		config *cri.PodSandboxConfig
		netns  bool
		want   string
	}{
		"nothing said":      {want: "ipc mnt pid uts"},
		"nothing but netns": {netns: true, want: "ipc mnt net pid uts"},
		"spec":              {spec: `{"linux":{"namespaces":[{"type":"ipc"},{"type":"uts"},{"type":"network"}]}}`, want: "ipc mnt net uts"},
		"spec and netns":    {spec: `{"linux":{"namespaces":[{"type":"network"}]}}`, netns: true, want: "mnt net"},
		"spec of a container": {
			spec: `{"process":{"args":["/bin/sh"],"terminal":true},"root":{"path":"rootfs"},"mounts":[{"destination":"/x","type":"nosuchfs"}],
				"linux":{"namespaces":[{"type":"pid"},{"type":"mount"}],"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"}}}`,
			want: "mnt pid",
		},
		"CRI pod":          {config: &cri.PodSandboxConfig{Hostname: "pod"}, netns: true, want: "ipc mnt net pid uts"},
		"CRI host network": {config: &cri.PodSandboxConfig{Linux: linuxConfig(&cri.NamespaceOption{Network: modeNode})}, want: "ipc mnt pid"},
		"CRI host of all": {
			config: &cri.PodSandboxConfig{Linux: linuxConfig(&cri.NamespaceOption{Network: modeNode, Pid: modeNode, Ipc: modeNode})}, want: "mnt",
		},
		"CRI user namespace": {
			config: &cri.PodSandboxConfig{Linux: linuxConfig(&cri.NamespaceOption{
				Network: modeNode, UsernsOptions: &cri.UserNamespace{Uids: mapping, Gids: mapping},
			})},
			want: "ipc mnt pid user",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.spec)
			r := f.request()
			if test.config != nil {
				r.Options = config(t, test.config)
			}
			if test.netns {
				r.NetnsPath = netns(t)
			}
			pid := f.up(t, r)
			if got := ownNamespaces(t, pid); got != test.want {
				t.Errorf("namespaces of its own: %s\nwant %s", got, test.want)
			}
			if test.netns && inode(t, fmt.Sprintf("/proc/%d/ns/net", pid)) != inode(t, r.NetnsPath) {
				t.Error("the network namespace is not that of the path")
			}
		})
	}
}

// What is set in the namespaces must be there before a container joins them.
func TestHostnameAndSysctls(t *testing.T) {
	f := newFixture(t, "")
	r := f.request()
	r.NetnsPath = netns(t)
	r.Options = config(t, &cri.PodSandboxConfig{
		Hostname: "a-pod",
		Linux:    &cri.LinuxPodSandboxConfig{Sysctls: map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "80"}},
	})
	pid := f.up(t, r)
	if !harness.Until(5*time.Second, func() bool { return sleeps(pid) }) {
		t.Fatal("the pause process does not come to rest")
	}
	join := fmt.Sprintf("nsenter --target %d --uts --ipc --net ", pid)
	for command, want := range map[string]string{
		"uname -n":                             "a-pod",
		"cat /proc/sys/kernel/shm_rmid_forced": "1",
		"cat /proc/sys/net/ipv4/ip_unprivileged_port_start":                              "80",
		fmt.Sprintf("tr '\\0' ' ' < /proc/%d/cmdline", pid):                              "/pause ",
		fmt.Sprintf("awk '/^(CapEff|CapBnd)/{print $2}' /proc/%d/status | sort -u", pid): "0000000000000000",
	} {
		out, err := exec.Command("sh", "-c", join+"sh -c "+quote(command)).CombinedOutput()
		if got := strings.TrimRight(string(out), "\n"); err != nil || got != want {
			t.Errorf("%s: %q, %v\nwant %q", command, got, err, want)
		}
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func TestLife(t *testing.T) {
	f := newFixture(t, "")
	before := time.Now()
	pid := f.up(t, f.request())

	s := f.mustStatus(t)
	if s.State != "SANDBOX_READY" || int(s.Pid) != pid || s.CreatedAt.AsTime().Before(before) || s.ExitedAt != nil {
		t.Errorf("status of a running sandbox: %v", s)
	}
	var info struct {
		Pid           int
		ProcessStatus string
		RuntimeSpec   struct{ Process struct{ Args []string } }
	}
	if err := json.Unmarshal([]byte(s.Info["info"]), &info); err != nil {
		t.Fatal(err)
	}
	if info.Pid != pid || info.ProcessStatus != "running" || len(info.RuntimeSpec.Process.Args) != 1 {
		t.Errorf("info: %s", s.Info["info"])
	}

	// Many wait, each is answered.
	var waiting sync.WaitGroup
	answers := make([]*sandbox.WaitSandboxResponse, 5)
	for i := range answers {
		waiting.Go(func() { answers[i], _ = f.wait(t.Context(), &sandbox.WaitSandboxRequest{SandboxId: f.id}) })
	}
	if _, err := f.stop(t.Context(), &sandbox.StopSandboxRequest{SandboxId: f.id}); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	for _, a := range answers {
		if a == nil || a.ExitStatus != 128+uint32(unix.SIGKILL) || a.ExitedAt.AsTime().Before(before) {
			t.Errorf("wait: %v", a)
		}
	}
	if s := f.mustStatus(t); s.State != "SANDBOX_NOTREADY" || s.Pid != 0 || s.ExitedAt == nil {
		t.Errorf("status of a stopped sandbox: %v", s)
	}
	f.nothingLeft(t, pid)

	// Both may be called again, and the daemon's delete action finds the true exit and nothing to do.
	if _, err := f.stop(t.Context(), &sandbox.StopSandboxRequest{SandboxId: f.id}); err != nil {
		t.Error(err)
	}
	b, err := bundle.Open(f.bundle)
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := b.Exit(); err != nil || exit.Pid != pid || exit.Status != 137 || b.Phase() != bundle.Deleted {
		t.Errorf("the bundle says %+v, %v, %q", exit, err, b.Phase())
	}
	for i := 1; i <= 2; i++ {
		if f.released != i-1 || f.Active() != (i == 1) {
			t.Errorf("before shutdown %d: released %d times, active %t", i, f.released, f.Active())
		}
		if _, err := f.shutdown(t.Context(), &sandbox.ShutdownSandboxRequest{SandboxId: f.id}); err != nil {
			t.Error(err)
		}
	}
}

// A caller that gives the sandbox time sees the pause process end by itself.
func TestStopWithTimeout(t *testing.T) {
	f := newFixture(t, "")
	pid := f.up(t, f.request())
	if !harness.Until(5*time.Second, func() bool { return sleeps(pid) }) {
		t.Fatal("the pause process does not come to rest")
	}
	if _, err := f.stop(t.Context(), &sandbox.StopSandboxRequest{SandboxId: f.id, TimeoutSecs: 60}); err != nil {
		t.Fatal(err)
	}
	a, err := f.wait(t.Context(), &sandbox.WaitSandboxRequest{SandboxId: f.id})
	if err != nil || a.ExitStatus != 0 {
		t.Errorf("wait: %v, %v", a, err)
	}
	f.nothingLeft(t, pid)
}

// sleeps says that a process runs the pause program and waits.
func sleeps(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || string(line) != "/"+program+"\x00" {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") S ")
}

// Whoever kills the pause process from outside, Wait answers and the sandbox is not ready.
func TestExitByItself(t *testing.T) {
	f := newFixture(t, "")
	pid := f.up(t, f.request())
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a, err := f.wait(t.Context(), &sandbox.WaitSandboxRequest{SandboxId: f.id})
	if err != nil || a.ExitStatus != 137 {
		t.Errorf("wait: %v, %v", a, err)
	}
	if s := f.mustStatus(t); s.State != "SANDBOX_NOTREADY" || s.Pid != 0 {
		t.Errorf("status: %v", s)
	}
	if !f.Active() {
		t.Error("the shim would leave before ShutdownSandbox")
	}
	if _, err := f.shutdown(t.Context(), &sandbox.ShutdownSandboxRequest{SandboxId: f.id}); err != nil {
		t.Error(err)
	}
	f.nothingLeft(t, pid)
}

// Containers with the pod's pid namespace end with the sandbox.
func TestStopEndsSharedPIDs(t *testing.T) {
	f := newFixture(t, "")
	pid := f.up(t, f.request())
	cmd := exec.Command("nsenter", fmt.Sprintf("--pid=/proc/%d/ns/pid", pid), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.stop(t.Context(), &sandbox.StopSandboxRequest{SandboxId: f.id}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process in the pod's pid namespace ended well")
	}
}

func TestErrors(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "")
	f.useRuntime(t, "/nonexistent/runc")
	bad := newFixture(t, "{")
	unknown := newFixture(t, "")
	unknown.write(t, "options", "\x0a\x03foo")
	r := f.request()

	check := func(what string, want ttrpc.Code, err error) {
		t.Helper()
		if got := ttrpc.CodeOf(err); got != want {
			t.Errorf("%s: class %d, want %d (%v)", what, got, want, err)
		}
	}
	_, err := f.ping(ctx, &sandbox.PingRequest{SandboxId: f.id})
	check("ping before create", ttrpc.NotFound, err)
	_, err = f.create(ctx, &sandbox.CreateSandboxRequest{BundlePath: f.bundle})
	check("create without id", ttrpc.InvalidArgument, err)
	_, err = f.create(ctx, &sandbox.CreateSandboxRequest{SandboxId: f.id, BundlePath: "/nonexistent"})
	check("create without bundle", ttrpc.NotFound, err)
	_, err = f.create(ctx, &sandbox.CreateSandboxRequest{SandboxId: f.id, BundlePath: f.bundle, Options: &known.Any{TypeUrl: "foo"}})
	check("create with unknown options", ttrpc.InvalidArgument, err)
	_, err = f.create(ctx, &sandbox.CreateSandboxRequest{SandboxId: f.id, BundlePath: f.bundle, Options: &known.Any{TypeUrl: configType, Value: []byte{0xff}}})
	check("create with broken options", ttrpc.InvalidArgument, err)
	_, err = bad.create(ctx, bad.request())
	check("create with a broken config.json", ttrpc.InvalidArgument, err)
	_, err = unknown.create(ctx, unknown.request())
	check("create with unknown options of the runtime", ttrpc.InvalidArgument, err)
	_, err = f.create(ctx, r)
	check("create", ttrpc.OK, err)
	_, err = f.create(ctx, r)
	check("create again", ttrpc.AlreadyExists, err)
	_, err = f.ping(ctx, &sandbox.PingRequest{SandboxId: "another"})
	check("ping another", ttrpc.NotFound, err)
	_, err = f.ping(ctx, &sandbox.PingRequest{})
	check("ping without id", ttrpc.InvalidArgument, err)
	_, err = f.shutdown(ctx, &sandbox.ShutdownSandboxRequest{SandboxId: "another"})
	check("shut another down", ttrpc.NotFound, err)
	_, err = f.metrics(ctx, &sandbox.SandboxMetricsRequest{SandboxId: f.id})
	check("metrics before start", ttrpc.FailedPrecondition, err)
	_, err = f.update(ctx, &sandbox.UpdateSandboxRequest{SandboxId: "another"})
	check("update another", ttrpc.NotFound, err)
	_, err = f.update(ctx, &sandbox.UpdateSandboxRequest{SandboxId: f.id, Fields: []string{"extensions"}})
	check("update extensions", ttrpc.OK, err)
	if s := f.mustStatus(t); s.State != "SANDBOX_NOTREADY" || s.Pid != 0 {
		t.Errorf("status of a created sandbox: %v", s)
	}
	_, err = f.start(ctx, &sandbox.StartSandboxRequest{SandboxId: f.id})
	check("start without a runtime", ttrpc.Unknown, err)
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = f.wait(soon, &sandbox.WaitSandboxRequest{SandboxId: f.id})
	check("wait too short", ttrpc.DeadlineExceeded, err)
	_, err = f.shutdown(ctx, &sandbox.ShutdownSandboxRequest{SandboxId: f.id})
	check("shutdown", ttrpc.OK, err)
	_, err = f.ping(ctx, &sandbox.PingRequest{SandboxId: f.id})
	check("ping after shutdown", ttrpc.NotFound, err)
	if f.Active() || f.released != 1 {
		t.Errorf("after shutdown: active %t, released %d times", f.Active(), f.released)
	}
}

func TestStartTwice(t *testing.T) {
	f := newFixture(t, "")
	f.up(t, f.request())
	for _, state := range []string{"running", "stopped"} {
		_, err := f.start(t.Context(), &sandbox.StartSandboxRequest{SandboxId: f.id})
		if ttrpc.CodeOf(err) != ttrpc.FailedPrecondition || !strings.HasSuffix(err.Error(), "it is "+state) {
			t.Errorf("start of a %s sandbox: %v", state, err)
		}
		if _, err := f.stop(t.Context(), &sandbox.StopSandboxRequest{SandboxId: f.id}); err != nil {
			t.Fatal(err)
		}
	}
}

// The cgroup that the CRI plugin names counts all that is in the pod: here two pause processes.
func TestMetrics(t *testing.T) {
	alone := newFixture(t, "")
	alone.up(t, alone.request())
	alone.mustHaveProcesses(t, 1)

	parent := fmt.Sprintf("%s/pod-%d", namespaceName, os.Getpid())
	t.Cleanup(func() { removeCgroup(parent) })
	options := config(t, &cri.PodSandboxConfig{Linux: &cri.LinuxPodSandboxConfig{CgroupParent: "/" + parent}})
	var f *fixture
	for range 2 {
		f = newFixture(t, "")
		r := f.request()
		r.Options = options
		f.up(t, r)
	}
	f.mustHaveProcesses(t, 2)
}

// mustHaveProcesses waits: the runtime's own process, which has threads, becomes the pause process.
func (f *fixture) mustHaveProcesses(t *testing.T, want uint64) {
	t.Helper()
	if !harness.Until(5*time.Second, func() bool { return f.processes(t) == want }) {
		t.Errorf("%d processes in the cgroup, want %d", f.processes(t), want)
	}
}

// processes are those in the cgroup whose metrics the sandbox has.
func (f *fixture) processes(t *testing.T) uint64 {
	t.Helper()
	answer, err := f.metrics(t.Context(), &sandbox.SandboxMetricsRequest{SandboxId: f.id})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Metrics.Id != f.id || answer.Metrics.Timestamp == nil {
		t.Errorf("metrics of %q at %v", answer.Metrics.Id, answer.Metrics.Timestamp)
	}
	data := answer.Metrics.Data
	if data.TypeUrl == "io.containerd.cgroups.v1.Metrics" {
		var m cgroup1.Metrics
		if err := m.UnmarshalVT(data.Value); err != nil {
			t.Fatal(err)
		}
		return m.GetPids().GetCurrent()
	}
	var m cgroup2.Metrics
	if err := m.UnmarshalVT(data.Value); err != nil {
		t.Fatal(err)
	}
	return m.GetPids().GetCurrent()
}

// removeCgroup removes a cgroup that the runtime has made on the way, and leaves.
func removeCgroup(name string) {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, dir := range append(dirs, "/sys/fs/cgroup/"+name) {
		_ = unix.Rmdir(dir)
	}
}

func TestPlatform(t *testing.T) {
	f := newFixture(t, "")
	f.useRuntime(t, "runc")
	if _, err := f.create(t.Context(), f.request()); err != nil {
		t.Fatal(err)
	}
	a, err := f.platform(t.Context(), &sandbox.PlatformRequest{SandboxId: f.id})
	if err != nil || a.Platform.Os != "linux" || a.Platform.Architecture == "" {
		t.Errorf("platform: %v, %v", a, err)
	}
}

func TestCgroupBelow(t *testing.T) {
	for _, test := range []struct{ parent, want string }{
		{"/kubepods/pod1", "/kubepods/pod1/id"},
		{"/kubepods.slice/kubepods-pod1.slice", "kubepods-pod1.slice:cri-containerd:id"},
	} {
		if got := cgroupBelow(test.parent, "id"); got != test.want {
			t.Errorf("below %s: %s, want %s", test.parent, got, test.want)
		}
	}
}
