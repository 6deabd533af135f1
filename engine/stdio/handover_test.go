package stdio

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/engine/tasks"
)

// replace lets a keeper of another build take over: no build is called that.
func replace(t *testing.T, dir string) {
	t.Helper()
	before := keeperPid(dir)
	k, err := FindWith(t.Context(), Starter{Dir: dir, Program: []string{os.Args[0]}, Build: "another"})
	if err != nil {
		t.Fatal(err)
	}
	k.Disconnect()
	if now := keeperPid(dir); now == before || now == 0 {
		t.Fatalf("the keeper is process %d, it was %d", now, before)
	}
}

// TestHandOver replaces the keeper again and again while a process writes and reads: every line is logged and seen by
// the client once, and every byte of the input arrives once.
func TestHandOver(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	key := Key{Container: "c1"}
	s := Streams{Key: key, Stdin: true, StdinOnce: true, Log: jsonLog(dir)}
	p := run(t, must[tasks.IO](t)(k.Open(t.Context(), s)))
	ours, theirs := client(t)
	ended := must[<-chan Ended](t)(k.Attach(t.Context(), key, Attach{Stdin: true, Stdout: true}, theirs))

	stop, cancel := context.WithCancel(t.Context())
	written := make(chan int, 1)
	// Talkative, but not so that nothing else runs on a small machine.
	pace := time.NewTicker(20 * time.Microsecond)
	defer pace.Stop()
	go func() {
		i := 0
		for ; stop.Err() == nil; i++ {
			<-pace.C
			// The end of a line comes later than its beginning.
			fmt.Fprintf(p.out, "line %d", i)
			fmt.Fprintf(p.err, "x")
			fmt.Fprintf(p.out, " ends\n")
		}
		written <- i
	}()
	seen := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(ours)
		seen <- b
	}()
	typed := make(chan string, 1)
	go func() {
		var b strings.Builder
		for i := 0; stop.Err() == nil; i++ {
			<-pace.C
			if _, err := fmt.Fprintf(ours, "input %d\n", i); err != nil {
				break
			}
			fmt.Fprintf(&b, "input %d\n", i)
		}
		_ = ours.CloseWrite()
		typed <- b.String()
	}()
	read := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(p.in)
		read <- b
	}()
	for range 6 {
		replace(t, dir)
	}
	cancel()
	n := <-written
	wantInput := <-typed
	if got := <-k.Notices(); !got.StdinClosed {
		t.Errorf("got %v", got)
	}
	p.closeStdin()
	if got := string(<-read); got != wantInput {
		t.Errorf("%d bytes of input arrived, want %d", len(got), len(wantInput))
	}
	p.exit()
	check(t, k.Drained(t.Context(), key, limit))
	var want bytes.Buffer
	for i := range n {
		fmt.Fprintf(&want, "line %d ends\n", i)
	}
	if got := <-seen; !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the client got %d bytes, want %d; they differ from %d on", len(got), want.Len(), differ(got, want.Bytes()))
	}
	got := logged(t, dir+"/c-json.log")
	if !bytes.Equal([]byte(got["stdout"]), want.Bytes()) {
		t.Errorf("%d bytes are logged, want %d", len(got["stdout"]), want.Len())
	}
	if len(got["stderr"]) != n || strings.Trim(got["stderr"], "x") != "" {
		t.Errorf("%d bytes of stderr are logged, want %d", len(got["stderr"]), n)
	}
	<-ended
	t.Logf("%d lines, %d bytes of input", n, len(wantInput))
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestHandOverOfThoseWhoWait: a client who waits for a process, and a client with output that it has not taken.
func TestHandOverOfThoseWhoWait(t *testing.T) {
	dir := folder(t)
	k := find(t, dir)
	waiting, theirs := client(t)
	must[<-chan Ended](t)(k.Attach(t.Context(), Key{Container: "later"}, Attach{Stdin: true, Stdout: true, Early: []byte("early")}, theirs))
	slow, theirs := client(t)
	must[<-chan Ended](t)(k.Attach(t.Context(), Key{Container: "now"}, Attach{Stdout: true}, theirs))
	p := run(t, must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: Key{Container: "now"}})))
	big := bytes.Repeat([]byte("0123456789abcdef"), 32<<10) // more than sockets hold
	must[int](t)(p.out.Write(big))
	replace(t, dir)
	replace(t, dir)
	p.exit()
	done := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(slow)
		done <- b
	}()
	check(t, k.Drained(t.Context(), Key{Container: "now"}, limit))
	if got := <-done; !bytes.Equal(got, big) {
		t.Errorf("the client got %d bytes, want %d", len(got), len(big))
	}
	later := Key{Container: "later"}
	p = run(t, must[tasks.IO](t)(k.Open(t.Context(), Streams{Key: later, Stdin: true, StdinOnce: true})))
	check(t, waiting.CloseWrite())
	<-k.Notices()
	p.closeStdin()
	if got := string(must[[]byte](t)(io.ReadAll(p.in))); got != "early" {
		t.Errorf("the process read %q", got)
	}
	check(t, k.Close(t.Context(), later))
}
