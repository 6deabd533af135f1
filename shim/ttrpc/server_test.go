package ttrpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	wire "github.com/gantry-containers/gantry/shim/api/ttrpc"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// What a server may do where there is no code.
const (
	closed   = -1 // it closes the connection
	noAnswer = -2 // it waits for more
)

// frame makes a frame by PROTOCOL.md.
func frame(length, stream uint32, kind, flags byte, body string) string {
	b := binary.BigEndian.AppendUint32(nil, length)
	b = binary.BigEndian.AppendUint32(b, stream)
	return string(append(b, kind, flags)) + body
}

func request(stream uint32, kind, flags byte, r *wire.Request) string {
	body, _ := r.MarshalVT()
	return frame(uint32(len(body)), stream, kind, flags, string(body))
}

var echoX = &wire.Request{Service: "test", Method: "Echo", Payload: []byte("\x0a\x01x")}

func TestGarbage(t *testing.T) {
	path := serve(t, map[string]ttrpc.Method{"Echo": ttrpc.Unary(echo)})
	cases := map[string]struct {
		send string
		want int // the code of the answer
	}{
		"a request":                 {request(1, 1, 0, echoX), int(ttrpc.OK)},
		"any odd stream":            {request(77, 1, 0, echoX), int(ttrpc.OK)},
		"the last stream":           {request(1<<32-1, 1, 0, echoX), int(ttrpc.OK)},
		"an even stream":            {request(2, 1, 0, echoX), int(ttrpc.InvalidArgument)},
		"stream zero":               {request(0, 1, 0, echoX), int(ttrpc.InvalidArgument)},
		"a stream, closed":          {request(1, 1, 1, echoX), int(ttrpc.Unimplemented)},
		"a stream, open":            {request(1, 1, 2, echoX), int(ttrpc.Unimplemented)},
		"an unknown flag":           {request(1, 1, 0x80, echoX), int(ttrpc.Unimplemented)},
		"zero length":               {frame(0, 1, 1, 0, ""), int(ttrpc.Unimplemented)},
		"not protobuf":              {frame(4, 1, 1, 0, "\xff\xff\xff\xff"), int(ttrpc.InvalidArgument)},
		"a payload not protobuf":    {request(1, 1, 0, &wire.Request{Service: "test", Method: "Echo", Payload: []byte("\xff")}), int(ttrpc.InvalidArgument)},
		"a name not UTF-8":          {request(1, 1, 0, &wire.Request{Service: "\xff\xfe"}), int(ttrpc.Unimplemented)},
		"a negative time limit":     {request(1, 1, 0, &wire.Request{Service: "test", Method: "Echo", TimeoutNano: -1}), int(ttrpc.OK)},
		"type zero":                 {request(1, 0, 0, echoX), noAnswer},
		"a response":                {request(1, 2, 0, echoX), noAnswer},
		"data":                      {request(1, 3, 0, echoX), noAnswer},
		"an unknown type":           {request(1, 0xff, 0, echoX), noAnswer},
		"one byte too long":         {frame(4<<20+1, 1, 1, 0, strings.Repeat("x", 4<<20+1)), int(ttrpc.ResourceExhausted)},
		"16 MiB less one":           {frame(1<<24-1, 1, 1, 0, strings.Repeat("x", 1<<24-1)), int(ttrpc.ResourceExhausted)},
		"16 MiB":                    {frame(1<<24, 1, 1, 0, "x"), closed},
		"4 GiB":                     {frame(1<<32-1, 1, 1, 0, "x"), closed},
		"another protocol":          {"GET / HTTP/1.1\r\n\r\n", closed},
		"a header cut short":        {"\x00\x00\x00", noAnswer},
		"a body cut short":          {frame(100, 1, 1, 0, "x"), noAnswer},
		"a long body cut short":     {frame(4<<20, 1, 1, 0, "x"), noAnswer},
		"a too long body cut short": {frame(4<<20+1, 1, 1, 0, "x"), noAnswer},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.send); err != nil && c.want != closed {
				t.Fatal(err)
			}
			want := c.want
			if want == noAnswer {
				conn.(*net.UnixConn).CloseWrite() //nolint:errcheck // what follows shows it
				want = closed
			}
			if got := answerCode(t, conn); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
	if got, err := call(t.Context(), dial(t, path), "Echo", "x"); got != "x" || err != nil {
		t.Errorf("after all of it: got %q, %v", got, err)
	}
}

// answerCode reads one answer and returns its code.
func answerCode(t *testing.T, conn net.Conn) int {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(harness.Limit(time.Minute))) //nolint:errcheck // a reading that hangs shows it
	var h [10]byte
	if _, err := io.ReadFull(conn, h[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("neither an answer nor an end")
		}
		return closed
	}
	body := make([]byte, binary.BigEndian.Uint32(h[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	r := &wire.Response{}
	if err := r.UnmarshalVT(body); err != nil {
		t.Fatal(err)
	}
	if h[8] != 2 || h[9] != 0 {
		t.Errorf("the answer has type %d, flags %d", h[8], h[9])
	}
	return int(r.GetStatus().GetCode())
}

func TestStreamsMustGrow(t *testing.T) {
	path := serve(t, map[string]ttrpc.Method{"Echo": ttrpc.Unary(echo)})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []struct {
		stream uint32
		want   ttrpc.Code
	}{{5, ttrpc.OK}, {5, ttrpc.InvalidArgument}, {3, ttrpc.InvalidArgument}, {7, ttrpc.OK}} {
		if _, err := io.WriteString(conn, request(c.stream, 1, 0, echoX)); err != nil {
			t.Fatal(err)
		}
		if got := answerCode(t, conn); got != int(c.want) {
			t.Errorf("stream %d: got %d, want %d", c.stream, got, c.want)
		}
	}
}

func FuzzServer(f *testing.F) {
	path := serve(f, map[string]ttrpc.Method{"Echo": ttrpc.Unary(echo)})
	for _, seed := range []string{
		request(1, 1, 0, echoX), request(1, 1, 0, echoX) + request(3, 1, 0, echoX), request(1, 1, 2, echoX),
		frame(0, 1, 1, 0, ""), frame(4<<20+1, 1, 1, 0, "x"), "GET / HTTP/1.1\r\n\r\n", request(1, 3, 5, echoX),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(b)                                             //nolint:errcheck // the server may close
		conn.(*net.UnixConn).CloseWrite()                         //nolint:errcheck // as above
		conn.SetReadDeadline(time.Now().Add(harness.Limit(1e10))) //nolint:errcheck // as above
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the server neither answers nor ends", b)
		}
		if got, err := call(t.Context(), dial(t, path), "Echo", "x"); got != "x" || err != nil {
			t.Errorf("after %q: got %q, %v", b, got, err)
		}
	})
}

const otherUser = 65534

func TestMain(m *testing.M) {
	if path := os.Getenv("TTRPC_TEST_CALL"); path != "" {
		os.Exit(callAsOther(path))
	}
	os.Exit(m.Run())
}

// callAsOther is the process of another user. It ends with 0 where it was turned away.
func callAsOther(path string) int {
	c, err := ttrpc.Dial(context.Background(), path)
	if err != nil {
		fmt.Println("dial:", err)
		return 2
	}
	got, err := call(context.Background(), c, "Echo", "x")
	fmt.Println(got, err)
	if ttrpc.CodeOf(err) != ttrpc.Unavailable {
		return 1
	}
	return 0
}

func TestAnotherUserIsTurnedAway(t *testing.T) {
	harness.NeedRoot(t)
	path := serve(t, map[string]ttrpc.Method{"Echo": ttrpc.Unary(echo)})
	harness.Reachable(t, filepath.Dir(path))
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]int{otherUser: 0, 0: 1} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{"TTRPC_TEST_CALL=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Errorf("user %d: %v: %s", uid, err, out)
		}
	}
}

// A Wait that blocks must stop nothing else, and answers come in any order.
func TestManyCallsAtOnce(t *testing.T) {
	const calls = 100
	release := make(chan struct{})
	var in sync.WaitGroup
	in.Add(calls)
	path := serve(t, map[string]ttrpc.Method{
		"Echo": ttrpc.Unary(echo),
		"Wait": ttrpc.Unary(func(_ context.Context, text *known.Any) (*known.Any, error) {
			in.Done()
			<-release
			return text, nil
		}),
	})
	c := dial(t, path)
	var waiting sync.WaitGroup
	for i := range calls {
		waiting.Go(func() {
			want := fmt.Sprint(i, strings.Repeat("x", i*1000))
			if got, err := call(t.Context(), c, "Wait", want); got != want || err != nil {
				t.Errorf("got %.20s, %v", got, err)
			}
		})
	}
	in.Wait() // all of them are being answered
	if got, err := call(t.Context(), c, "Echo", "x"); got != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	close(release)
	waiting.Wait()
}

func TestContextOfTheMethod(t *testing.T) {
	ended := make(chan error, 1)
	in := make(chan struct{}, 1)
	path := serve(t, map[string]ttrpc.Method{"Wait": func(ctx context.Context, _ []byte) (ttrpc.Message, error) {
		in <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	t.Run("ends with the time limit", func(t *testing.T) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := &wire.Request{Service: "test", Method: "Wait", TimeoutNano: 1e6}
		if _, err := io.WriteString(conn, request(1, 1, 0, r)); err != nil {
			t.Fatal(err)
		}
		if got := answerCode(t, conn); got != int(ttrpc.DeadlineExceeded) {
			t.Errorf("got %d, want DeadlineExceeded", got)
		}
		<-in
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the method's context ended by %v", err)
		}
	})
	t.Run("ends with the connection", func(t *testing.T) {
		c := dial(t, path)
		failed := make(chan error, 1)
		go func() {
			_, err := call(context.Background(), c, "Wait", "x")
			failed <- err
		}()
		<-in
		c.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the method's context ended by %v", err)
		}
		if err := <-failed; ttrpc.CodeOf(err) != ttrpc.Unavailable {
			t.Errorf("the call ended by %v", err)
		}
	})
}

// Shutdown: the method lets the server close, and its own answer must arrive, however late it is.
func TestCloseLetsAnswersOut(t *testing.T) {
	var server *ttrpc.Server
	waiting := make(chan struct{})
	path, server, ended := serveUntil(t, map[string]ttrpc.Method{
		"Shutdown": func(ctx context.Context, _ []byte) (ttrpc.Message, error) {
			go server.Close()
			<-ctx.Done() // it closes
			time.Sleep(50 * time.Millisecond)
			return &known.Any{TypeUrl: strings.Repeat("x", 1<<20)}, nil
		},
		"Wait": func(ctx context.Context, _ []byte) (ttrpc.Message, error) {
			close(waiting)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	c, other := dial(t, path), dial(t, path)
	failed := make(chan error, 1)
	go func() {
		_, err := call(context.Background(), other, "Wait", "x")
		failed <- err
	}()
	<-waiting
	if got, err := call(t.Context(), c, "Shutdown", ""); err != nil || len(got) != 1<<20 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if err := <-failed; ttrpc.CodeOf(err) != ttrpc.Unavailable {
		t.Errorf("the call that waited got %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := call(t.Context(), c, "Shutdown", ""); ttrpc.CodeOf(err) != ttrpc.Unavailable {
		t.Errorf("a call after the end: %v", err)
	}
	if _, err := ttrpc.Dial(t.Context(), path); ttrpc.CodeOf(err) != ttrpc.Unavailable {
		t.Errorf("a connection after the end: %v", err)
	}
}

// A method that never ends must not keep the shim.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	in := make(chan struct{})
	release := make(chan struct{})
	path, server, ended := serveUntil(t, map[string]ttrpc.Method{"Hang": func(context.Context, []byte) (ttrpc.Message, error) {
		close(in)
		<-release
		return &known.Empty{}, nil
	}})
	defer close(release)
	c := dial(t, path)
	failed := make(chan error, 1)
	go func() {
		_, err := call(context.Background(), c, "Hang", "x")
		failed <- err
	}()
	<-in
	server.Close()
	if err := <-failed; ttrpc.CodeOf(err) != ttrpc.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
