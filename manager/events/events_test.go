package events

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
)

func openLog(t testing.TB, config Config) *Log {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l
}

// closeLog is the orderly end of a manager.
func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func forwardTo(t testing.TB, l *Log, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		if err := l.Forward(t.Context(), envelope("default", topic, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

func envelope(namespace, topic string, value []byte) *events.Envelope {
	return &events.Envelope{Timestamp: time.Unix(1700000000, 0).UTC(), Namespace: namespace, Topic: topic, Event: &anypb.Any{TypeUrl: "t", Value: value}}
}

func read(t testing.TB, l *Log, start Start) *Subscription {
	t.Helper()
	s, err := l.Read(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// next takes n events, says that they were sent, and returns "number topic" of each.
func next(t testing.TB, s *Subscription, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for range n {
		r, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		got = append(got, fmt.Sprintf("%d %s", r.Sequence, r.Topic))
		s.Sent(r.Sequence)
	}
	return got
}

// quiet fails the test if there is an event to be had.
func quiet(t testing.TB, s *Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if r, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next: %v, %v; want nothing", r, err)
	}
}

func diff(t testing.TB, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNumbersGoOnAfterRestart(t *testing.T) {
	config := Config{Dir: filepath.Join(t.TempDir(), "made", "if", "missing")}
	for i, want := range []uint64{0, 2, 4} {
		l := openLog(t, config)
		if got := l.Last(); got != want {
			t.Errorf("start %d: Last() = %d, want %d", i, got, want)
		}
		forwardTo(t, l, "/a", "/b")
		closeLog(t, l)
	}
	l := openLog(t, config)
	diff(t, []string{"1 /a", "2 /b", "3 /a", "4 /b", "5 /a", "6 /b"}, next(t, read(t, l, Start{Since: 1}), 6))
}

func TestForwardRefuses(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir()})
	timeless := envelope("default", "/a", nil)
	timeless.Timestamp = time.Time{}
	for name, e := range map[string]*events.Envelope{
		"nil":                nil,
		"no namespace":       envelope("", "/a", nil),
		"bad namespace":      envelope("a/b", "/a", nil),
		"no topic":           envelope("default", "", nil),
		"only a slash":       envelope("default", "/", nil),
		"no slash":           envelope("default", "a", nil),
		"slash at the end":   envelope("default", "/a/", nil),
		"two slashes":        envelope("default", "/a//b", nil),
		"bad component":      envelope("default", "/a/..", nil),
		"long component":     envelope("default", "/"+strings.Repeat("a", 77), nil),
		"no time":            timeless,
		"too large an event": envelope("default", "/a", make([]byte, maxBody)),
	} {
		if err := l.Forward(t.Context(), e); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v, want invalid argument", name, err)
		}
	}
	if err := l.Publish(t.Context(), "/a", &apievents.TaskExit{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Publish without a namespace: %v, want failed precondition", err)
	}
	if got := l.Last(); got != 0 {
		t.Errorf("Last() = %d after nothing but errors", got)
	}
}

func TestFilters(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir()})
	ctx := namespaces.WithNamespace(t.Context(), "moby")
	for _, id := range []string{"one", "two"} {
		if err := l.Publish(ctx, "/tasks/exit", &apievents.TaskExit{ContainerID: id}); err != nil {
			t.Fatal(err)
		}
	}
	forwardTo(t, l, "/tasks/start", "/images/create")
	for _, test := range []struct {
		filters []string
		want    []string
	}{
		{nil, []string{"1 /tasks/exit", "2 /tasks/exit", "3 /tasks/start", "4 /images/create"}},
		{[]string{"namespace==moby,topic~=|^/tasks/|"}, []string{"1 /tasks/exit", "2 /tasks/exit"}},
		{[]string{`topic=="/images/create"`, "namespace==moby"}, []string{"1 /tasks/exit", "2 /tasks/exit", "4 /images/create"}},
		{[]string{"event.container_id==two"}, []string{"2 /tasks/exit"}},
		{[]string{"event.container_id"}, []string{"1 /tasks/exit", "2 /tasks/exit"}},
	} {
		t.Run(strings.Join(test.filters, " or "), func(t *testing.T) {
			s := read(t, l, Start{Filters: test.filters, Since: 1})
			diff(t, test.want, next(t, s, len(test.want)))
			quiet(t, s)
		})
	}
	if _, err := l.Read(t.Context(), Start{Filters: []string{"topic=="}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad filter: %v, want invalid argument", err)
	}
}

// What a filter remembers must not answer for an event's content, nor for other topics and namespaces.
func TestFilterThatRemembers(t *testing.T) {
	typed := func(id string) *events.Envelope {
		event, err := typeurl.MarshalAny(&apievents.TaskExit{ContainerID: id})
		if err != nil {
			t.Fatal(err)
		}
		return &events.Envelope{Namespace: "moby", Topic: "/tasks/exit", Event: event}
	}
	f, err := newFilter([]string{"topic~=^.tasks,event.container_id==one", "namespace==other"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, test := range []struct {
			e    *events.Envelope
			want bool
		}{
			{typed("one"), true},
			{typed("two"), false},
			{envelope("moby", "/tasks/exit", nil), false},
			{envelope("other", "/tasks/exit", nil), true},
			{envelope("moby", "/images/create", nil), false},
			{envelope("other", "/images/create", nil), true},
		} {
			if got := f.match(test.e); got != test.want {
				t.Errorf("%s %s %v: %v, want %v", test.e.Namespace, test.e.Topic, test.e.Event, got, test.want)
			}
		}
	}
	for i := range 10 * maxAnswers {
		f.match(envelope("moby", fmt.Sprintf("/%d", i), nil))
	}
	if n := len(f.answers); n == 0 || n > maxAnswers {
		t.Errorf("%d answers are remembered, want 1 to %d", n, maxAnswers)
	}
}

func TestNewSubscriberBeginsNow(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir()})
	forwardTo(t, l, "/before")
	s := read(t, l, Start{})
	quiet(t, s)
	forwardTo(t, l, "/after")
	diff(t, []string{"2 /after"}, next(t, s, 1))
}

func TestSince(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir(), MaxEvents: 16}) // 8 segments of 2
	for i := range 40 {
		forwardTo(t, l, fmt.Sprintf("/%d", i+1))
	}
	oldest := l.segments[0].first
	if oldest < 20 || oldest > 30 {
		t.Errorf("oldest of 40 events is %d where 16 are kept", oldest)
	}
	for since, ok := range map[uint64]bool{1: false, oldest - 1: false, oldest: true, oldest + 1: true, oldest + 2: true, 40: true, 41: true, 42: false} {
		s, err := l.Read(t.Context(), Start{Since: since})
		if !ok {
			if !errdefs.IsOutOfRange(err) {
				t.Errorf("since %d: %v, want out of range", since, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("since %d: %v", since, err)
			continue
		}
		for n := since; n <= 40; n++ {
			diff(t, []string{fmt.Sprintf("%d /%d", n, n)}, next(t, s, 1))
		}
		quiet(t, s)
		s.Close()
	}
}

func TestLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir, MaxBytes: 64 << 10})
	value := make([]byte, 1000)
	for range 1000 {
		if err := l.Forward(t.Context(), envelope("default", "/a", value)); err != nil {
			t.Fatal(err)
		}
		if got := bytesIn(t, dir); got > 64<<10 {
			t.Fatalf("%d bytes on disk, more than %d", got, 64<<10)
		}
	}
	// One event larger than all that is to be kept is kept all the same, alone.
	if err := l.Forward(t.Context(), envelope("default", "/large", make([]byte, 1<<20))); err != nil {
		t.Fatal(err)
	}
	diff(t, []string{"1001 /large"}, next(t, read(t, l, Start{Since: 1001}), 1))
	forwardTo(t, l, "/small")
	diff(t, []string{"1002 /small"}, next(t, read(t, l, Start{Since: 1002}), 1))
}

func bytesIn(t *testing.T, dir string) int64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

func TestSlowReader(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir(), MaxEvents: 1024})
	slow, quick := read(t, l, Start{Filters: []string{"topic"}}), read(t, l, Start{})
	value := make([]byte, 2000)
	for i := range 5000 {
		if err := l.Forward(t.Context(), envelope("default", "/a", value)); err != nil {
			t.Fatal(err)
		}
		diff(t, []string{fmt.Sprintf("%d /a", i+1)}, next(t, quick, 1))
		if i == 0 {
			next(t, slow, 1)
		}
	}
	if _, err := slow.Next(t.Context()); !errdefs.IsOutOfRange(err) {
		t.Errorf("slow reader: %v, want out of range", err)
	}
	if c := cap(slow.buffer); c > 2*readSize {
		t.Errorf("slow reader holds %d bytes", c)
	}
	slow.Close()
	// It comes back, and is told what there still is.
	oldest := l.segments[0].first
	again := read(t, l, Start{Filters: []string{"topic"}})
	diff(t, []string{fmt.Sprintf("%d /a", oldest)}, next(t, again, 1))
}

func TestLargeEventsAmongSmall(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir(), MaxBytes: 64 << 20})
	s := read(t, l, Start{})
	var want []string
	for i, size := range []int{0, readSize, 10, readSize - 100, 1 << 20, 5, 3 << 20, 3 << 20, 0} {
		if err := l.Forward(t.Context(), envelope("default", "/a", make([]byte, size))); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%d /a", i+1))
	}
	diff(t, want, next(t, s, len(want)))
	quiet(t, s)
}

func TestConcurrentPublishersAndSubscribers(t *testing.T) {
	const publishers, subscribers, each = 8, 4, 500
	l := openLog(t, Config{Dir: t.TempDir(), MaxEvents: 8192})
	var readers, writers sync.WaitGroup
	order := make([][]string, subscribers)
	for i := range subscribers {
		s := read(t, l, Start{Filters: []string{fmt.Sprintf("namespace!=%d", i)}})
		readers.Go(func() {
			for range publishers * each {
				r, err := s.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order[i] = append(order[i], fmt.Sprint(r.Sequence, r.Topic, binary.LittleEndian.Uint64(r.Event.GetValue())))
				s.Sent(r.Sequence)
			}
		})
	}
	for p := range publishers {
		writers.Go(func() {
			for i := range each {
				e := envelope("default", fmt.Sprintf("/p%d", p), binary.LittleEndian.AppendUint64(nil, uint64(i)))
				if err := l.Forward(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Others come and go meanwhile.
	for range 50 {
		s, err := l.Read(t.Context(), Start{})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	writers.Wait()
	readers.Wait()
	for i := range order {
		diff(t, order[0], order[i])
	}
	if got := l.Last(); got != publishers*each {
		t.Errorf("Last() = %d, want %d", got, publishers*each)
	}
}

// The manager dies at any moment: what is in the directory then is read again, up to the last whole event.
func TestDeathAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir, MaxEvents: 4096})
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := l.Forward(t.Context(), envelope("default", "/a", make([]byte, rand.IntN(2000)))); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 10 {
		before := l.Last()
		died := copyDir(t, dir)
		again := openLog(t, Config{Dir: died, MaxEvents: 4096})
		if again.Last() < before {
			t.Errorf("opened with %d events, %d were there before the copy", again.Last(), before)
		}
		if err := again.Forward(t.Context(), envelope("default", "/b", nil)); err != nil {
			t.Error(err)
		}
		s := read(t, again, Start{Since: again.segments[0].first})
		var last string
		for n := again.segments[0].first; n <= again.Last(); n++ {
			last = next(t, s, 1)[0]
		}
		diff(t, fmt.Sprintf("%d /b", again.Last()), last)
		closeLog(t, again)
	}
	close(stop)
	writer.Wait()
}

// copyDir copies a live directory as it may be found after a death: oldest file first, and from the beginning again
// where a file has gone meanwhile, which would make a gap that no death leaves.
func copyDir(t *testing.T, dir string) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		to := t.TempDir()
		err := os.CopyFS(to, os.DirFS(dir))
		if err == nil {
			return to
		}
		if !errors.Is(err, os.ErrNotExist) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Every byte of a small log as the last that was written.
func TestOpenAfterEveryTornByte(t *testing.T) {
	whole := mustFrame(t, testRecord(1, "/a", []byte("one")))
	data := append(slices.Clip(whole), mustFrame(t, testRecord(2, "/b", []byte("two")))...)
	for n := range data {
		dir := t.TempDir()
		if err := os.WriteFile(segmentPath(dir, 1), data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, Config{Dir: dir})
		forwardTo(t, l, "/new")
		want := []string{"1 /new"}
		if n >= len(whole) {
			want = []string{"1 /a", "2 /new"}
		}
		diff(t, want, next(t, read(t, l, Start{Since: 1}), len(want)))
		closeLog(t, l)
	}
}

func TestOpenWithGarbage(t *testing.T) {
	one := mustFrame(t, testRecord(1, "/a", nil))
	two := mustFrame(t, testRecord(2, "/b", nil))
	five := mustFrame(t, testRecord(5, "/e", nil))
	for name, test := range map[string]struct {
		files map[string][]byte
		want  []string
	}{
		"other files":          {map[string][]byte{"1.log": one, "x": two, "0000000000000000000x.log": one, "00000000000000000000.log": one}, []string{"1 /new"}},
		"gap between segments": {map[string][]byte{"00000000000000000001.log": one, "00000000000000000005.log": five}, []string{"1 /a", "5 /e", "6 /new"}},
		"old segment cut":      {map[string][]byte{"00000000000000000001.log": append(slices.Clip(one), "garbage"...), "00000000000000000005.log": five}, []string{"1 /a", "5 /e", "6 /new"}},
		"overlap":              {map[string][]byte{"00000000000000000001.log": append(slices.Clip(one), two...), "00000000000000000002.log": two}, []string{"1 /a", "2 /b", "3 /new"}},
		"empty last":           {map[string][]byte{"00000000000000000001.log": one, "00000000000000000002.log": nil}, []string{"1 /a", "2 /new"}},
		"garbage cursors":      {map[string][]byte{"cursors/1": nil, "cursors/2": []byte("x"), "cursors/3": []byte("gantryC2\x01\x00\x00\x00\x00\x00\x00\x00{\"filters\":[\"a"), "cursors/x": nil}, []string{"1 /new"}},
		"cursor above the log": {map[string][]byte{"cursors/1": []byte("gantryC2\x09\x00\x00\x00\x00\x00\x00\x00{\"filters\":[]}")}, []string{"10 /new"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "cursors"), 0o700); err != nil {
				t.Fatal(err)
			}
			for name, data := range test.files {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := openLog(t, Config{Dir: dir})
			forwardTo(t, l, "/new")
			diff(t, test.want, next(t, read(t, l, Start{Since: l.segments[0].first}), len(test.want)))
		})
	}
}

func TestClose(t *testing.T) {
	l := openLog(t, Config{Dir: t.TempDir()})
	s := read(t, l, Start{})
	ended := make(chan error)
	go func() {
		_, err := s.Next(t.Context())
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errdefs.IsUnavailable(err) {
		t.Errorf("Next: %v, want unavailable", err)
	}
	if err := l.Forward(t.Context(), envelope("default", "/a", nil)); !errdefs.IsUnavailable(err) {
		t.Errorf("Forward: %v, want unavailable", err)
	}
	if _, err := l.Read(t.Context(), Start{}); !errdefs.IsUnavailable(err) {
		t.Errorf("Read: %v, want unavailable", err)
	}
	_, errs := l.Subscribe(t.Context())
	if err := <-errs; !errdefs.IsUnavailable(err) {
		t.Errorf("Subscribe: %v, want unavailable", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestSubscribe(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	if _, errs := l.Subscribe(t.Context(), "topic=="); !errdefs.IsInvalidArgument(<-errs) {
		t.Error("a bad filter is no invalid argument")
	}
	ctx, cancel := context.WithCancel(t.Context())
	told, errs := l.Subscribe(ctx, `topic=="/b"`)
	forwardTo(t, l, "/a", "/b")
	if e := <-told; e.Topic != "/b" {
		t.Errorf("told of %s, want /b", e.Topic)
	}
	if names := cursorFiles(t, dir); len(names) != 0 {
		t.Errorf("cursors %v for a subscriber inside the manager", names)
	}
	cancel()
	if err, ok := <-errs; err != nil || ok {
		t.Errorf("after the end: %v, %v; want a closed channel", err, ok)
	}
}
