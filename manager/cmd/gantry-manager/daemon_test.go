package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/tests/harness"
)

// asDaemon makes a run of the test binary the daemon itself.
const asDaemon = "GANTRY_TEST_AS_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// output is what a process writes, for more than one reader.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// daemon is a process of its own.
type daemon struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	log    *output
	exited chan error // closed, after the error
}

// args of a daemon in dir.
func args(dir string, more ...string) []string {
	return append([]string{
		"--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"),
		"--address", filepath.Join(dir, "m.sock"),
	}, more...)
}

func start(t *testing.T, dir string, arg ...string) *daemon {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, cmd: exec.Command(self, arg...), log: &output{}, exited: make(chan error, 1)}
	d.cmd.Env = append(os.Environ(), asDaemon+"=1")
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.exited <- d.cmd.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		for range d.exited { // nobody asks how it ended any more
		}
	})
	return d
}

// end waits for the end of the process, and says how it was.
func (d *daemon) end() error {
	d.t.Helper()
	select {
	case err := <-d.exited:
		return err
	case <-time.After(harness.Limit(30 * time.Second)):
		d.t.Fatalf("the daemon does not end; its log:\n%s", d.log)
		return nil
	}
}

// dial connects to it, when it is there.
func (d *daemon) dial() *grpc.ClientConn {
	d.t.Helper()
	c, err := grpc.NewClient("unix://"+filepath.Join(d.dir, "m.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(d.t.Context(), harness.Limit(30*time.Second))
	defer cancel()
	r, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		d.t.Fatalf("health: %v, %v; log:\n%s", r, err, d.log)
	}
	return c
}

// until waits for something to come true.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	if !harness.Until(harness.Limit(30*time.Second), so) {
		t.Fatalf("not within 30 s: %s", what)
	}
}

func TestDaemon(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	told := func() string {
		t.Helper()
		text := make([]byte, 64)
		_ = systemd.SetReadDeadline(time.Now().Add(harness.Limit(30 * time.Second)))
		n, err := systemd.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	file := filepath.Join(dir, "c.toml")
	text := fmt.Sprintf("version = 2\noom_score = 100\nsurprise = 1\n[debug]\naddress = %q\nlevel = 'debug'\n[metrics]\naddress = '127.0.0.1:0'\n", filepath.Join(dir, "debug.sock"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, dir, args(dir, "--config", file)...)
	c := d.dial()
	if got := told(); got != "READY=1" {
		t.Errorf("systemd was told %q", got)
	}
	if !strings.Contains(d.log.String(), file+": surprise means nothing here") {
		t.Errorf("no warning of the file in\n%s", d.log)
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", d.cmd.Process.Pid))
	if err != nil || strings.TrimSpace(string(score)) != "100" {
		t.Errorf("oom_score_adj: %q, %v", score, err)
	}

	second := start(t, dir, args(dir)...)
	if err := second.end(); err == nil || !strings.Contains(second.log.String(), "is another manager running?") {
		t.Errorf("a second daemon on the socket: %v\n%s", err, second.log)
	}
	second = start(t, dir, args(dir, "--address", filepath.Join(dir, "other.sock"))...)
	if err := second.end(); err == nil || !strings.Contains(second.log.String(), "belongs to a manager that is running") {
		t.Errorf("a second daemon on the root: %v\n%s", err, second.log)
	}

	subscription, err := eventsapi.NewEventsClient(c).Subscribe(t.Context(), &eventsapi.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(unix.SIGPIPE); err != nil {
		t.Fatal(err)
	}
	until(t, "stacks in the log", func() bool {
		return strings.Contains(d.log.String(), "=== end ===") && strings.Contains(d.log.String(), "logStacks")
	})

	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := told(); got != "STOPPING=1" {
		t.Errorf("systemd was told %q", got)
	}
	if _, err := subscription.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a subscriber's stream ended with %v", err)
	}
	if err := d.end(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, d.log)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.sock*")); len(left) > 0 {
		t.Errorf("sockets are left: %q", left)
	}
}

func TestMetricsAndDebug(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	file := filepath.Join(dir, "c.toml")
	text := fmt.Sprintf("[debug]\naddress = %q\n[metrics]\naddress = %q\n", filepath.Join(dir, "debug.sock"), address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, dir, args(dir, "--config", file)...)
	c := d.dial()
	if _, err := introspectionapi.NewIntrospectionClient(c).Server(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"http://" + address + "/v1/metrics":          `grpc_server_handled_total{grpc_code="OK",grpc_method="Server",grpc_service="containerd.services.introspection.v1.Introspection",grpc_type="unary"} 1`,
		"http://debug/debug/pprof/goroutine?debug=1": "goroutine profile:",
	} {
		got := get(t, url, filepath.Join(dir, "debug.sock"))
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %s in\n%.500s", url, want, got)
		}
	}
}

// get asks for a page; the host debug is the debug socket.
func get(t *testing.T, url, debug string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "debug:") {
			network, address = "unix", debug
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, r.Status, err)
	}
	return string(text)
}

func TestBadInput(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte("[grpc]\nmax_recv_message_size = 65536\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, dir, args(dir, "--config", file)...)
	c := d.dial()
	for _, socket := range []string{"m.sock", "m.sock.ttrpc"} {
		for _, garbage := range []string{"", "GET / HTTP/1.0\r\n\r\n", strings.Repeat("\x00", 1<<16), strings.Repeat("\xff", 1<<16)} {
			raw, err := net.Dial("unix", filepath.Join(dir, socket))
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.WriteString(raw, garbage)
			if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
				t.Error(err)
			}
			raw.Close()
		}
	}
	ctx := namespaces.WithNamespace(t.Context(), "test")
	write, err := contentapi.NewContentClient(c).Write(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = write.Send(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_WRITE, Ref: "big", Data: make([]byte, 1<<17)})
	if _, err := write.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message that is too long: %v", err)
	}
	if err := c.Invoke(ctx, "/containerd.services.none.v1.None/Get", &introspectionapi.PluginsRequest{}, &introspectionapi.PluginsResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a service that there is not: %v", err)
	}
	d.dial() // it still answers
}
