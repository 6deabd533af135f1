package events

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

const dockerd = "namespace==moby,topic~=|^/tasks/|"

func cursorFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "cursors", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// settle waits until the subscriber's place on disk is at this number.
func settle(t testing.TB, s *Subscription, sequence uint64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s.place.mu.Lock()
		at := s.place.cursor.sent
		s.place.mu.Unlock()
		if at == sequence {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place on disk is %d, want %d", at, sequence)
		}
	}
}

func forwardMoby(t testing.TB, l *Log, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		if err := l.Forward(t.Context(), envelope("moby", topic, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplayAfterRestart(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, l *Log, s *Subscription, dir string) string{
		"killed": func(t *testing.T, _ *Log, _ *Subscription, dir string) string { return copyDir(t, dir) },
		"closed": func(t *testing.T, l *Log, s *Subscription, dir string) string {
			closeLog(t, l)
			s.Close() // as the handler does, afterwards
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := openLog(t, Config{Dir: dir})
			start := Start{Filters: []string{dockerd}, Subscriber: "1:7"}
			s := read(t, l, start)
			forwardMoby(t, l, "/tasks/create", "/tasks/start")
			diff(t, []string{"1 /tasks/create", "2 /tasks/start"}, next(t, s, 2))
			settle(t, s, 2)
			forwardMoby(t, l, "/tasks/oom")

			l = openLog(t, Config{Dir: end(t, l, s, dir)})
			forwardMoby(t, l, "/images/create", "/tasks/exit") // before anybody has subscribed again
			other := read(t, l, Start{Filters: []string{"topic"}})
			// A new process of the same program has asked for the tasks as they are.
			anew := read(t, l, Start{Filters: []string{dockerd}, Subscriber: "2:9"})
			s = read(t, l, start)
			diff(t, []string{"3 /tasks/oom", "5 /tasks/exit"}, next(t, s, 2))
			quiet(t, s)
			quiet(t, other)
			quiet(t, anew)
			forwardMoby(t, l, "/tasks/delete")
			diff(t, []string{"6 /tasks/delete"}, next(t, s, 1))

			second := read(t, l, start)
			quiet(t, second) // the place is given once
		})
	}
}

func TestSentIsNotLost(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	s := read(t, l, Start{})
	forwardTo(t, l, "/a", "/b")
	diff(t, []string{"1 /a", "2 /b"}, next(t, s, 2))
	closeLog(t, l) // before cursorLag: both may not have left the process
	l = openLog(t, Config{Dir: dir})
	diff(t, []string{"1 /a", "2 /b"}, next(t, read(t, l, Start{}), 2))
}

func TestUnsentIsToldAgain(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	s := read(t, l, Start{Filters: []string{`topic!="/skip"`}})
	forwardTo(t, l, "/a", "/skip", "/b")
	diff(t, []string{"1 /a"}, next(t, s, 1))
	if r, err := s.Next(t.Context()); err != nil || r.Sequence != 3 { // taken, and never sent
		t.Fatal(r, err)
	}
	settle(t, s, 2)
	forwardTo(t, l, "/skip") // does not carry the place over what is unsent
	quiet(t, s)
	closeLog(t, l)
	l = openLog(t, Config{Dir: dir})
	diff(t, []string{"3 /b"}, next(t, read(t, l, Start{Filters: []string{`topic!="/skip"`}}), 1))
}

func TestSubscriberThatWantsNothingKeepsUp(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir, MaxEvents: 64})
	s := read(t, l, Start{Filters: []string{`topic=="/rare"`}})
	for range 10 {
		for range 50 {
			forwardTo(t, l, "/often")
		}
		quiet(t, s)
	}
	settle(t, s, 500)
	closeLog(t, l)
	l = openLog(t, Config{Dir: dir, MaxEvents: 64})
	forwardTo(t, l, "/rare")
	diff(t, []string{"501 /rare"}, next(t, read(t, l, Start{Filters: []string{`topic=="/rare"`}}), 1))
}

func TestClientThatGoesAwayLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	s := read(t, l, Start{})
	if n := len(cursorFiles(t, dir)); n != 1 {
		t.Fatalf("%d cursors for one subscriber", n)
	}
	s.Close()
	s.Close()
	if names := cursorFiles(t, dir); len(names) != 0 {
		t.Errorf("left over: %v", names)
	}
	if _, err := s.Next(t.Context()); !errdefs.IsUnavailable(err) {
		t.Errorf("Next after Close: %v, want unavailable", err)
	}
	forwardTo(t, l, "/a")
	quiet(t, read(t, l, Start{}))
}

// A client that comes back and fails before it has heard everything comes back once more.
func TestClientThatGoesAwayDuringReplay(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	read(t, l, Start{})
	forwardTo(t, l, "/a", "/b")
	closeLog(t, l)
	l = openLog(t, Config{Dir: dir})
	s := read(t, l, Start{})
	diff(t, []string{"1 /a"}, next(t, s, 1))
	settle(t, s, 1)
	s.Close()
	s = read(t, l, Start{})
	diff(t, []string{"2 /b"}, next(t, s, 1))
	settle(t, s, 2)
	s.Close()
	if names := cursorFiles(t, dir); len(names) != 0 {
		t.Errorf("left over: %v", names)
	}
}

func TestLowestPlaceFirst(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	filters := []string{`topic=="/x"`, "topic"}
	ahead, behind := read(t, l, Start{Filters: filters}), read(t, l, Start{Filters: filters})
	forwardTo(t, l, "/a", "/b", "/c")
	next(t, ahead, 2)
	next(t, behind, 1)
	settle(t, ahead, 2)
	settle(t, behind, 1)
	closeLog(t, l)
	l = openLog(t, Config{Dir: dir})
	filters = []string{"topic", `topic=="/x"`, "topic"} // other spelling, same meaning
	diff(t, []string{"2 /b", "3 /c"}, next(t, read(t, l, Start{Filters: filters}), 2))
	diff(t, []string{"3 /c"}, next(t, read(t, l, Start{Filters: filters}), 1))
	quiet(t, read(t, l, Start{Filters: filters}))
}

func TestSinceLeavesPlacesAlone(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	read(t, l, Start{})
	forwardTo(t, l, "/a", "/b")
	closeLog(t, l)
	l = openLog(t, Config{Dir: dir})
	diff(t, []string{"2 /b"}, next(t, read(t, l, Start{Since: 2}), 1))
	diff(t, []string{"1 /a", "2 /b"}, next(t, read(t, l, Start{}), 2))
}

func TestPlacesExpire(t *testing.T) {
	config := Config{Dir: t.TempDir(), MaxEvents: 16}
	l := openLog(t, config)
	read(t, l, Start{})
	read(t, l, Start{Filters: []string{"topic"}})
	forwardTo(t, l, "/a")
	closeLog(t, l)

	l = openLog(t, config)
	l.expireOrphans(time.Now().Add(14 * time.Minute))
	if n := len(cursorFiles(t, config.Dir)); n != 2 {
		t.Fatalf("%d places after 14 minutes, want 2", n)
	}
	diff(t, []string{"1 /a"}, next(t, read(t, l, Start{}), 1))
	l.expireOrphans(time.Now().Add(16 * time.Minute))
	if n := len(cursorFiles(t, config.Dir)); n != 1 { // that of the one that has come back
		t.Fatalf("%d places after 16 minutes, want 1", n)
	}
	quiet(t, read(t, l, Start{Filters: []string{"topic"}}))
	closeLog(t, l)

	l = openLog(t, config) // two places again; now the log goes on without them
	for i := range 16 {
		forwardTo(t, l, fmt.Sprintf("/%d", i))
	}
	for l.segments[0].first <= 2 {
		forwardTo(t, l, "/more")
	}
	if n := len(cursorFiles(t, config.Dir)); n != 0 {
		t.Errorf("%d places that the log has left behind, want 0", n)
	}
	quiet(t, read(t, l, Start{}))
}

func TestExpiryTimer(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	read(t, l, Start{})
	closeLog(t, l)
	l = openLog(t, Config{Dir: dir, Orphans: time.Millisecond})
	for deadline := time.Now().Add(30 * time.Second); len(cursorFiles(t, dir)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place does not expire")
		}
	}
	closeLog(t, l)
}

func TestPlacesAtAnyMomentOfDeath(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	s := read(t, l, Start{Filters: []string{dockerd}})
	for i := range 300 {
		forwardMoby(t, l, "/tasks/exit")
		next(t, s, 1)
		if i%15 != 0 {
			continue
		}
		died := openLog(t, Config{Dir: copyDir(t, dir)})
		forwardMoby(t, died, "/tasks/delete")
		again := read(t, died, Start{Filters: []string{dockerd}})
		got := next(t, again, 1)
		for !slices.Contains(got, fmt.Sprintf("%d /tasks/delete", i+2)) {
			got = append(got, next(t, again, 1)...)
		}
		again.Close()
		closeLog(t, died)
	}
}
