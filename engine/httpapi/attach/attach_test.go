package attach

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/net/websocket"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/logs"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// TestMain is the keeper process, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == keeper.Argument {
		os.Exit(keeper.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// world is the routes over real records and a real keeper, and a terminal that remembers.
type world struct {
	t      *testing.T
	store  *container.Store
	keeper *stdio.Keeper
	addr   string

	mu   sync.Mutex
	told []string
}

func (w *world) Resize(_ context.Context, id, process string, width, height uint32) error {
	w.remember(fmt.Sprintf("resize %s%s %dx%d", id, process, width, height))
	return nil
}

func (w *world) Publish(_ events.Type, action events.Action, id string, attributes map[string]string) {
	w.remember(fmt.Sprintf("event %s %s %s", action, id, attributes["name"]))
}

func (w *world) remember(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, s)
}

func (w *world) remembered() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.told...)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	store, _, err := container.Open(filepath.Join(dir, "containers"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := stdio.FindWith(t.Context(), stdio.Starter{Dir: dir, Program: []string{os.Args[0]}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pid := k.Pid()
		k.Disconnect()
		_ = unix.Kill(pid, unix.SIGKILL)
	})
	w := &world{t: t, store: store, keeper: k}
	server := httptest.NewServer(httpapi.New(httpapi.Options{Server: "1"},
		&Routes{Containers: store, Streams: k, Terminals: w, Events: w}))
	t.Cleanup(server.Close)
	w.addr = server.Listener.Addr().String()
	return w
}

// add makes a container in a state; change may say more.
func (w *world) add(id string, status container.Status, change func(*container.Container)) {
	w.t.Helper()
	c := &container.Container{
		ID: id, Name: id + "-name", Config: &api.Config{OpenStdin: true, StdinOnce: true},
		HostConfig: &api.HostConfig{LogConfig: api.LogConfig{Type: logs.JSONFile}}, State: container.State{Status: status},
	}
	if change != nil {
		change(c)
	}
	if err := w.store.Create(c); err != nil {
		w.t.Fatal(err)
	}
}

// log writes a log of a container.
func (w *world) log(id string, entries ...logs.Entry) {
	w.t.Helper()
	l, err := logs.Open(logs.JSONFile, logs.Path(logs.JSONFile, w.store.Dir(id), id), logs.Rotation{}, map[string]string{"a b": "c"})
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // Write has told
	if err := l.Write(entries); err != nil {
		w.t.Fatal(err)
	}
}

// run opens the streams of a container and plays its shim.
func (w *world) run(id string, tty bool) (out, in *os.File) {
	w.t.Helper()
	fifos, err := w.keeper.Open(w.t.Context(), stdio.Streams{
		Key: stdio.Key{Container: id}, Stdin: true, StdinOnce: true, Terminal: tty,
		Log: &stdio.Log{Driver: logs.JSONFile, Path: logs.Path(logs.JSONFile, w.store.Dir(id), id)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if out, err = os.OpenFile(fifos.Stdout, os.O_WRONLY, 0); err != nil {
		w.t.Fatal(err)
	}
	if in, err = os.OpenFile(fifos.Stdin, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { out.Close(); in.Close() })
	return out, in
}

// hijack sends a request and gives the answer's head and the raw connection.
func (w *world) hijack(method, path, header string) (*http.Response, *bufio.Reader, *net.TCPConn) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, header)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, r, conn.(*net.TCPConn)
}

func (w *world) get(path string) (int, http.Header, string) {
	w.t.Helper()
	resp, err := http.Get("http://" + w.addr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, 0, byte(len(text))}) + text
}

const upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"

func TestAttach(t *testing.T) {
	w := newWorld(t)
	for i, c := range []struct {
		version, header string
		tty             bool
		status          int
		kind            string
	}{
		{"", upgrade, false, 101, "application/vnd.docker.multiplexed-stream"},
		{"/v1.41", upgrade, false, 101, "application/vnd.docker.raw-stream"},
		{"", "", false, 200, "application/vnd.docker.raw-stream"},
		{"", upgrade, true, 101, "application/vnd.docker.raw-stream"},
	} {
		id := fmt.Sprintf("c%d", i)
		w.add(id, container.Running, func(r *container.Container) { r.Config.Tty = c.tty })
		out, in := w.run(id, c.tty)
		resp, r, conn := w.hijack("POST", c.version+"/containers/"+id+"/attach?stream=1&stdin=1&stdout=1&stderr=1", c.header)
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.kind {
			t.Errorf("%+v: got %d, %s", c, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		fmt.Fprint(conn, "typed")
		got := make([]byte, 5)
		waitFor(t, func() bool {
			_, err := in.Read(got)
			return err == nil
		})
		fmt.Fprint(out, "hi")
		want := "hi"
		if !c.tty {
			want = frame(1, "hi")
		}
		got = make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Errorf("%+v: got %q, %v, want %q", c, got, err, want)
		}
		conn.Close()
		out.Close()
		in.Close()
		if err := w.keeper.Close(t.Context(), stdio.Key{Container: id}); err != nil {
			t.Error(err)
		}
	}
}

func TestAttachDetaches(t *testing.T) {
	w := newWorld(t)
	w.add("c1", container.Running, func(r *container.Container) { r.Config.Tty = true })
	w.run("c1", true)
	_, r, conn := w.hijack("POST", "/containers/c1/attach?stream=1&stdin=1&stdout=1&detachKeys=a,ctrl-b", upgrade)
	fmt.Fprint(conn, "a\x02")
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v", b, err)
	}
	waitFor(t, func() bool { return len(w.remembered()) == 2 })
	if diff := cmp.Diff([]string{"event attach c1 c1-name", "event detach c1 c1-name"}, w.remembered()); diff != "" {
		t.Error(diff)
	}
}

func TestAttachWithLogs(t *testing.T) {
	w := newWorld(t)
	w.add("c1", container.Running, nil)
	w.log("c1", logs.Entry{Source: "stdout", Line: []byte("old")}, logs.Entry{Source: "stderr", Line: []byte("err")})
	_, r, _ := w.hijack("POST", "/containers/c1/attach?logs=1&stdout=1&stderr=1", upgrade)
	if b, err := io.ReadAll(r); err != nil || string(b) != frame(1, "old\n")+frame(2, "err\n") {
		t.Errorf("got %q, %v", b, err)
	}
	out, _ := w.run("c1", false)
	_, r, _ = w.hijack("POST", "/containers/c1/attach?logs=1&stream=1&stdout=1", upgrade)
	fmt.Fprint(out, "new")
	want := frame(1, "old\n") + frame(1, "new")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.add("paused", container.Paused, nil)
	w.add("restarting", container.Restarting, nil)
	w.add("dead", container.Dead, nil)
	w.add("none", container.Running, func(c *container.Container) { c.HostConfig.LogConfig.Type = "none" })
	w.add("done", container.Exited, nil)
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"POST", "/containers/none/attach?detachKeys=ctrl-1", 400, "Invalid detach keys (ctrl-1) provided\r\n"},
		{"POST", "/containers/nope/attach", 404, "No such container: nope\r\n"},
		{"POST", "/containers/paused/attach", 409, "container paused is paused, unpause the container before attach\r\n"},
		{"POST", "/containers/restarting/attach", 409, "container restarting is restarting, wait until the container is running\r\n"},
		{"GET", "/containers/nope/attach/ws", 404, `{"message":"No such container: nope"}` + "\n"},
		{"GET", "/containers/none/logs", 400, `{"message":"must specify at least one of 'stdout' or 'stderr'"}` + "\n"},
		{"GET", "/containers/none/logs?stdout=1", 501, `{"message":"configured logging driver does not support reading"}` + "\n"},
		{"GET", "/containers/dead/logs?stdout=1", 409, `{"message":"can not get logs from container which is dead or marked for removal"}` + "\n"},
		{"GET", "/containers/none/logs?stdout=1&since=x", 400, `{"message":"invalid value for \"since\": invalid timestamp \"x\": invalid seconds \"x\": invalid syntax"}` + "\n"},
		{"GET", "/containers/none/logs?stdout=1&until=1.x", 400, `{"message":"invalid value for \"until\": invalid timestamp \"1.x\": invalid nanoseconds: invalid character 'x' at position 0"}` + "\n"},
		{"GET", "/containers/done/logs?stdout=1&format=xml", 400, `{"message":"unsupported log format"}` + "\n"},
		{"POST", "/containers/done/resize?h=1&w=1", 409, `{"message":"container done is not running"}` + "\n"},
		{"POST", "/containers/done/resize?h=x&w=1", 400, `{"message":"invalid resize height \"x\": invalid syntax"}` + "\n"},
		{"POST", "/containers/done/resize?h=1", 400, `{"message":"invalid resize width \"\": invalid syntax"}` + "\n"},
		{"POST", "/containers/done/resize?h=-1&w=1", 400, `{"message":"invalid resize height \"-1\": value out of range"}` + "\n"},
		{"POST", "/containers/nope/resize?h=1&w=1", 404, `{"message":"No such container: nope"}` + "\n"},
	} {
		resp, _, _ := w.hijack(c.method, c.path, "Connection: close\r\n")
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || string(b) != c.body {
			t.Errorf("%s: got %d %q, want %d %q", c.path, resp.StatusCode, b, c.status, c.body)
		}
	}
	if told := w.remembered(); len(told) > 0 {
		t.Errorf("told %v", told)
	}
}

func TestResize(t *testing.T) {
	w := newWorld(t)
	w.add("c1", container.Running, nil)
	resp, _, _ := w.hijack("POST", "/containers/c1-name/resize?h=24&w=80", "Connection: close\r\n")
	if resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if diff := cmp.Diff([]string{"resize c1 80x24", "event resize c1 c1-name"}, w.remembered()); diff != "" {
		t.Error(diff)
	}
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	w.add("c1", container.Exited, nil)
	w.add("tty", container.Exited, func(c *container.Container) { c.Config.Tty = true })
	at := time.Unix(1700000000, 5000).UTC()
	for _, id := range []string{"c1", "tty"} {
		w.log(id, logs.Entry{Source: "stdout", Time: at, Line: []byte("out")}, logs.Entry{Source: "stderr", Time: at.Add(time.Hour), Line: []byte("err")})
	}
	const mux, raw = "application/vnd.docker.multiplexed-stream", "application/vnd.docker.raw-stream"
	for _, c := range []struct{ path, kind, want string }{
		{"/containers/c1/logs?stdout=1&stderr=1", mux, frame(1, "out\n") + frame(2, "err\n")},
		{"/v1.41/containers/c1/logs?stderr=1", raw, frame(2, "err\n")},
		{"/containers/tty/logs?stdout=1&follow=1", raw, "out\n"},
		{"/containers/tty/logs?stdout=1&stderr=1&tail=1", raw, "err\n"},
		{"/containers/tty/logs?stdout=1&stderr=1&tail=all&since=1700000001", raw, "err\n"},
		{"/containers/tty/logs?stdout=1&stderr=1&until=1700000001.5", raw, "out\n"},
		{"/containers/tty/logs?stdout=1&timestamps=1&details=1", raw, "2023-11-14T22:13:20.000005000Z a+b=c out\n"},
		{"/containers/tty/logs?stdout=1&format=json", "application/x-ndjson", `{"Line":"out\n","Source":"stdout","Timestamp":"2023-11-14T22:13:20.000005Z"}` + "\n"},
	} {
		status, header, got := w.get(c.path)
		if status != 200 || header.Get("Content-Type") != c.kind || got != c.want {
			t.Errorf("%s: got %d %s %q, want %q", c.path, status, header.Get("Content-Type"), got, c.want)
		}
	}
}

// TestLogsFollow: what is written is told at once, and the answer ends with the container.
func TestLogsFollow(t *testing.T) {
	w := newWorld(t)
	w.add("c1", container.Running, func(c *container.Container) { c.Config.Tty = true })
	out, _ := w.run("c1", true)
	resp, err := http.Get("http://" + w.addr + "/containers/c1/logs?stdout=1&follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := make([]byte, 4)
	for i := range 3 {
		fmt.Fprintf(out, "li%d\n", i)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != fmt.Sprintf("li%d\n", i) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	fmt.Fprint(out, "last")
	out.Close()
	if err := w.keeper.Drained(t.Context(), stdio.Key{Container: "c1"}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	_, err = w.store.Update("c1", func(c *container.Container) error { c.State.Status = container.Exited; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "last" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t)
	w.add("c1", container.Running, nil)
	out, in := w.run("c1", false)
	ws, err := websocket.Dial("ws://"+w.addr+"/containers/c1/attach/ws?stream=1&stdin=1&stdout=1", "", "http://"+w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close() //nolint:errcheck // the server closes first
	if _, err := ws.Write([]byte("typed")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 16)
	waitFor(t, func() bool {
		n, err := in.Read(got)
		return err == nil && bytes.Equal(got[:n], []byte("typed"))
	})
	fmt.Fprint(out, "hi")
	n, err := ws.Read(got)
	if err != nil || string(got[:n]) != "hi" {
		t.Errorf("got %q, %v", got[:n], err)
	}
	fmt.Fprint(out, "last")
	out.Close()
	if err := w.keeper.Drained(t.Context(), stdio.Key{Container: "c1"}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(ws); string(b) != "last" {
		t.Errorf("got %q", b)
	}
}

func TestKeys(t *testing.T) {
	for typed, want := range map[string]string{
		"": "\x10\x11", "ctrl-p,ctrl-q": "\x10\x11", "a,ctrl-@,DEL": "a\x00\x7f", "ctrl-_": "\x1f", "ctrl-\\": "\x1c",
		"ctrl-": "?", "ctrl-A": "?", "ab": "?", "a,,b": "?",
	} {
		got, err := parseKeys(typed)
		if (err != nil) != (want == "?") || err == nil && string(got) != want {
			t.Errorf("%q: got %q, %v, want %q", typed, got, err, want)
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it never happened")
		case <-time.After(2 * time.Millisecond):
		}
	}
}
