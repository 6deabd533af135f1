package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apievents "github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/tests/harness"
)

// self runs this binary as gantry-manager, with text on its stdin.
func self(t *testing.T, stdin string, arg ...string) (string, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, arg...)
	cmd.Env = append(os.Environ(), asDaemon+"=1", "FILLED={{id}}", "LEFT={{other}}")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestHook(t *testing.T) {
	bundle := t.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"root": {"path": "rootfs"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	state := fmt.Sprintf(`{"id": "c1", "pid": 42, "status": "created", "bundle": %q, "annotations": {"a b": "c"}}`, bundle)
	script := `echo "$@"; echo $FILLED $LEFT`
	got, err := self(t, state, "oci-hook", "--", "/bin/sh", "-c", script, "x", "{{id}}", "{{ pid }}", "{{status}}", `{{annotation "a b"}}`, "{{rootfs}}", "{{bundle}}")
	want := fmt.Sprintf("c1 42 created c %s/rootfs %s\nc1 {{other}}\n", bundle, bundle)
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for name, c := range map[string]struct {
		state string
		args  []string
		want  string
	}{
		"no program":    {state, nil, "no program"},
		"unknown place": {state, []string{"/bin/true", "{{pit}}"}, "{{pit}}"},
		"no such file":  {state, []string{"/nonexistent"}, "/nonexistent"},
		"no state":      {"", []string{"/bin/true"}, "state on stdin"},
		"no bundle":     {`{"bundle": "/nonexistent"}`, []string{"/bin/true"}, "config.json"},
	} {
		got, err := self(t, c.state, append([]string{"oci-hook"}, c.args...)...)
		if err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	root, err := rootfs(bundle)
	if err != nil || root != bundle+"/rootfs" {
		t.Errorf("rootfs %q, %v", root, err)
	}
	if _, err := filler(specs.State{}, "")(`{{annotation "none"}}`); err != nil {
		t.Errorf("an annotation that there is not: %v", err)
	}
}

func TestPublish(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	d := start(t, dir, args(dir)...)
	c := d.dial()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subscription, err := eventsapi.NewEventsClient(c).Subscribe(ctx, &eventsapi.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := subscription.Header(); err != nil { // it has begun
		t.Fatal(err)
	}
	event, err := typeurl.MarshalAnyToProto(&apievents.TaskExit{ContainerID: "c1", ExitStatus: 3})
	if err != nil {
		t.Fatal(err)
	}
	text, err := proto.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "m.sock")
	if out, err := self(t, string(text), "--address", socket, "publish", "--topic", "/tasks/exit", "--namespace", "n"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := subscription.Recv()
	if err != nil || got.Namespace != "n" || got.Topic != "/tasks/exit" || !bytes.Equal(got.Event.GetValue(), event.Value) {
		t.Errorf("event: %v, %v", got, err)
	}
	for name, c := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"no topic":     {"", []string{"--address", socket, "publish", "--namespace", "n"}, "--topic"},
		"no namespace": {string(text), []string{"--address", socket, "publish", "--topic", "/t"}, "namespace"},
		"no event":     {"\xff", []string{"--address", socket, "publish", "--topic", "/t", "--namespace", "n"}, "no event"},
		"nobody there": {string(text), []string{"--address", dir + "/none", "publish", "--topic", "/t", "--namespace", "n"}, dir + "/none"},
		"odd flag":     {"", []string{"publish", "--odd"}, "odd"},
	} {
		if out, err := self(t, c.stdin, c.args...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// TestConfigCommands checks that what the program prints is what it reads.
func TestConfigCommands(t *testing.T) {
	var first, second bytes.Buffer
	if err := run([]string{"config", "default"}, &first); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-c", file, "config", "migrate"}, &second); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first.String(), second.String()); d != "" {
		t.Error(d)
	}
}

func TestCgroup(t *testing.T) {
	harness.NeedRoot(t)
	roots, err := hierarchies()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	path := fmt.Sprintf("/gantry-test-%d/daemon", os.Getpid())
	t.Cleanup(func() {
		for _, root := range roots {
			for _, dir := range []string{root + path, filepath.Dir(root + path)} {
				if err := unix.Rmdir(dir); err != nil {
					t.Errorf("cgroup %s: %v", dir, err)
				}
			}
		}
	})
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte("[cgroup]\npath = '"+path+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, dir, args(dir, "--config", file)...)
	d.dial()
	for _, root := range roots {
		procs, err := os.ReadFile(filepath.Join(root+path, "cgroup.procs"))
		if err != nil || strings.TrimSpace(string(procs)) != fmt.Sprint(d.cmd.Process.Pid) {
			t.Errorf("%s%s has the processes %q, %v", root, path, procs, err)
		}
	}
	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.end(); err != nil {
		t.Error(err)
	}
}
