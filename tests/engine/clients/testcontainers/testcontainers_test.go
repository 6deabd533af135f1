package testcontainers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"
)

var image = os.Getenv("IMG")

// minute is how long a container may take to be ready.
const minute = time.Minute

// run starts a container that has no network unless options say so, and terminates it at the test's end.
func run(t *testing.T, img string, options ...tc.ContainerCustomizer) *tc.DockerContainer {
	t.Helper()
	c, err := start(t, img, options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, img string, options ...tc.ContainerCustomizer) (*tc.DockerContainer, error) {
	t.Helper()
	c, err := tc.Run(t.Context(), img, append([]tc.ContainerCustomizer{network("none")}, options...)...)
	tc.CleanupContainer(t, c, tc.StopTimeout(0)) // what sleeps has no ear for signals
	return c, err
}

func network(mode container.NetworkMode) tc.CustomizeRequestOption {
	return tc.WithHostConfigModifier(func(h *container.HostConfig) { h.NetworkMode = mode })
}

func shell(script string) tc.CustomizeRequestOption { return tc.WithCmd("sh", "-c", script) }

// output runs a command in a container.
func output(t *testing.T, c tc.Container, cmd ...string) string {
	t.Helper()
	code, r, err := c.Exec(t.Context(), cmd, exec.Multiplexed())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || code != 0 {
		t.Fatalf("%v: %d %v %s", cmd, code, err, b)
	}
	return string(b)
}

func TestWaitForLog(t *testing.T) {
	t.Parallel()
	c := run(t, image, shell("sleep 0.2; echo ready; echo ready >&2; sleep 1000"), tc.WithWaitStrategy(wait.ForLog("ready").WithOccurrence(2)))
	r, err := c.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || strings.Count(string(b), "ready\n") != 2 {
		t.Errorf("%q %v", b, err)
	}
}

func TestWaitStrategies(t *testing.T) {
	t.Parallel()
	health := tc.WithConfigModifier(func(c *container.Config) {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "test", "-e", "/tmp/up"}, Interval: 100 * time.Millisecond, Retries: 1000}
	})
	c := run(t, image, shell("sleep 0.3; echo text > /tmp/up; sleep 1000"), health, tc.WithWaitStrategyAndDeadline(minute,
		wait.ForExec([]string{"test", "-e", "/tmp/up"}),
		wait.ForFile("/tmp/up").WithMatcher(func(r io.Reader) error {
			b, err := io.ReadAll(r)
			if err == nil && string(b) != "text\n" {
				err = errors.New("the file has " + string(b))
			}
			return err
		}),
		wait.ForHealthCheck()))
	state, err := c.State(t.Context())
	if err != nil || !state.Running || state.Health.Status != container.Healthy {
		t.Errorf("%+v %v", state, err)
	}
	ended := run(t, image, shell("exit 3"), tc.WithWaitStrategy(wait.ForExit().WithExitTimeout(minute)))
	if state, err := ended.State(t.Context()); err != nil || state.ExitCode != 3 {
		t.Errorf("%+v %v", state, err)
	}
	if _, err := start(t, image, shell("echo why; exit 3"), tc.WithWaitStrategy(wait.ForLog("never"))); err == nil || !strings.Contains(err.Error(), "container exited with code 3") {
		t.Errorf("one that ends early: %v", err)
	}
	if _, err := start(t, image, tc.WithCmd("nothing-of-this-name")); err == nil || !strings.Contains(err.Error(), "executable file not found in $PATH") {
		t.Errorf("one that cannot start: %v", err)
	}
}

// A service on the host's network, which is the engine's.
func TestWaitForPort(t *testing.T) {
	t.Parallel()
	c := run(t, image, network("host"), shell("mkdir /www; echo page > /www/index.html; exec httpd -f -p 8099 -h /www"),
		tc.WithWaitStrategy(wait.ForExec([]string{"wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8099/"})))
	if _, err := net.DialTimeout("tcp", "127.0.0.1:8099", minute); err != nil {
		t.Error(err)
	}
	if got := output(t, c, "wget", "-q", "-O", "-", "http://127.0.0.1:8099/"); got != "page\n" {
		t.Errorf("got %q", got)
	}
	i, err := c.Inspect(t.Context())
	if err != nil || i.HostConfig.NetworkMode != "host" {
		t.Errorf("%+v %v", i, err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "one\n", "b": "two\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := run(t, image, tc.WithCmd("sleep", "1000"), tc.WithFiles(
		tc.ContainerFile{HostFilePath: filepath.Join(dir, "a"), ContainerFilePath: "/etc/a", FileMode: 0o600},
		tc.ContainerFile{Reader: strings.NewReader("read\n"), ContainerFilePath: "/made/here/r", FileMode: 0o755},
	), tc.WithTmpfs(map[string]string{"/scratch": "rw,size=1m"}))
	if err := c.CopyToContainer(t.Context(), []byte("late\n"), "/tmp/late", 0o640); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyDirToContainer(t.Context(), dir, "/tmp/beside", 0o755); err != nil {
		t.Fatal(err)
	}
	if got := output(t, c, "sh", "-c", `stat -c %a /etc/a /made/here/r /tmp/late; cat /etc/a /made/here/r /tmp/late; find /tmp -name b -exec cat {} +`); got != "600\n755\n640\none\nread\nlate\ntwo\n" {
		t.Errorf("got %q", got)
	}
	r, err := c.CopyFileFromContainer(t.Context(), "/made/here/r")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "read\n" {
		t.Errorf("%q %v", b, err)
	}
	if got := output(t, c, "grep", "-c", "/scratch tmpfs", "/proc/mounts"); got != "1\n" {
		t.Errorf("got %q", got)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	c := run(t, image, tc.WithCmd("sleep", "1000"), tc.WithEnv(map[string]string{"OF": "container"}))
	code, r, err := c.Exec(t.Context(), []string{"sh", "-c", "id -u; pwd; echo $OF $X; echo err >&2; exit 7"},
		exec.WithUser("1000"), exec.WithWorkingDir("/tmp"), exec.WithEnv([]string{"X=exec"}), exec.Multiplexed())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || code != 7 || !strings.HasPrefix(string(b), "1000\n/tmp\ncontainer exec\n") || !strings.Contains(string(b), "err\n") {
		t.Errorf("%d %q %v", code, b, err)
	}
}

// consumer keeps what a container logs.
type consumer struct {
	mu   sync.Mutex
	logs map[string]string
	done chan struct{}
}

func (c *consumer) Accept(l tc.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logs[l.LogType] += string(l.Content)
	if strings.Contains(c.logs[tc.StdoutLog], "end\n") && c.logs[tc.StderrLog] == "err\n" {
		select {
		case <-c.done:
		default:
			close(c.done)
		}
	}
}

func TestLogConsumer(t *testing.T) {
	t.Parallel()
	logs := &consumer{logs: map[string]string{}, done: make(chan struct{})}
	run(t, image, shell("echo err >&2; for i in 1 2 3; do echo line $i; sleep 0.1; done; echo end; sleep 1000"), tc.WithLogConsumers(logs))
	select {
	case <-logs.done:
	case <-time.After(minute):
		t.Fatalf("got %q", logs.logs)
	}
	if got := logs.logs[tc.StdoutLog]; got != "line 1\nline 2\nline 3\nend\n" {
		t.Errorf("got %q", got)
	}
}

func TestHooksAndLife(t *testing.T) {
	t.Parallel()
	var seen []string
	hook := func(name string) []tc.ContainerHook {
		return []tc.ContainerHook{func(context.Context, tc.Container) error {
			seen = append(seen, name)
			return nil
		}}
	}
	c, err := tc.Run(t.Context(), image, network("none"), shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"), tc.WithWaitStrategy(wait.ForLog("ready")),
		tc.WithLifecycleHooks(tc.ContainerLifecycleHooks{
			PostCreates: hook("created"), PostStarts: hook("started"), PostReadies: hook("ready"),
			PostStops: hook("stopped"), PostTerminates: hook("terminated"),
		}),
		tc.WithStartupCommand(tc.NewRawCommand([]string{"touch", "/tmp/startup"})),
		tc.WithAfterReadyCommand(tc.NewRawCommand([]string{"touch", "/tmp/after"})))
	tc.CleanupContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	output(t, c, "ls", "/tmp/startup", "/tmp/after")
	timeout := 30 * time.Second
	if err := c.Stop(t.Context(), &timeout); err != nil {
		t.Fatal(err)
	}
	if state, err := c.State(t.Context()); err != nil || state.Running || state.ExitCode != 0 {
		t.Errorf("%+v %v", state, err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"created", "started", "ready", "stopped", "started", "ready", "stopped", "terminated"}; !slices.Equal(seen, want) {
		t.Errorf("got %v", seen)
	}
	if _, err := c.Inspect(t.Context()); err == nil {
		t.Error("it is still there")
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	first := run(t, image, tc.WithReuseByName("tc-reused"), tc.WithCmd("sleep", "1000"))
	second := run(t, image, tc.WithReuseByName("tc-reused"), tc.WithCmd("sleep", "1000"))
	if first.GetContainerID() != second.GetContainerID() {
		t.Error("another container")
	}
}

func TestVolume(t *testing.T) {
	t.Parallel()
	mount := tc.WithMounts(tc.VolumeMount("tc-volume", "/data"))
	writer := run(t, image, mount, shell("echo kept > /data/file"), tc.WithWaitStrategy(wait.ForExit().WithExitTimeout(minute)))
	if err := writer.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := tc.Run(t.Context(), image, network("none"), mount, tc.WithCmd("sleep", "1000"))
	tc.CleanupContainer(t, c, tc.StopTimeout(0), tc.RemoveVolumes("tc-volume"))
	if err != nil {
		t.Fatal(err)
	}
	if got := output(t, c, "cat", "/data/file"); got != "kept\n" {
		t.Errorf("got %q", got)
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dockerfile := "FROM " + image + "\nARG WHAT\nCOPY a.txt /a.txt\nRUN echo $WHAT >> /a.txt\nCMD [\"sleep\", \"1000\"]\n"
	for name, text := range map[string]string{"Dockerfile": dockerfile, "a.txt": "copied\n", ".dockerignore": "left-out\n", "left-out": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	what := "argument"
	var log bytes.Buffer
	c := run(t, "", tc.WithDockerfile(tc.FromDockerfile{
		Context: dir, Repo: "tc-built", Tag: "v1", BuildArgs: map[string]*string{"WHAT": &what}, BuildLogWriter: &log,
		BuildOptionsModifier: func(o *client.ImageBuildOptions) { o.NetworkMode = "none" },
	}))
	if got := output(t, c, "cat", "/a.txt"); got != "copied\nargument\n" {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(log.String(), "Successfully tagged tc-built:v1") {
		t.Errorf("the log is %s", &log)
	}
}

// An image of a registry that asks for a password, which a file of the docker command line's has.
func TestPull(t *testing.T) {
	registry := os.Getenv("REGISTRY")
	auth, err := json.Marshal(map[string]any{"auths": map[string]any{registry: map[string]string{"username": "joe", "password": "secret"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", string(auth))
	name := registry + "/tc/busybox:v1"
	provider, err := tc.NewDockerProvider()
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	if _, err := provider.Client().ImageTag(t.Context(), client.ImageTagOptions{Source: image, Target: name}); err != nil {
		t.Fatal(err)
	}
	push, err := provider.Client().ImagePush(t.Context(), name, client.ImagePushOptions{RegistryAuth: "eyJ1c2VybmFtZSI6ImpvZSIsInBhc3N3b3JkIjoic2VjcmV0In0="})
	if err == nil {
		err = push.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Client().ImageRemove(t.Context(), name, client.ImageRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	c := run(t, name, tc.WithAlwaysPull(), tc.WithCmd("sleep", "1000"))
	if got := output(t, c, "echo", "pulled"); got != "pulled\n" {
		t.Errorf("got %q", got)
	}
	images, err := provider.ListImages(t.Context())
	if err != nil || !slices.ContainsFunc(images, func(i tc.ImageInfo) bool { return i.Name == name }) {
		t.Errorf("%v %v", images, err)
	}
	if err := provider.Health(t.Context()); err != nil {
		t.Error(err)
	}
}
