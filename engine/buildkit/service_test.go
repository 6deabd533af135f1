package buildkit

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/build"
)

// pid is the daemon's; 0 when there is none.
func (s *Service) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return 0
	}
	return s.now.process.Pid
}

func use(t *testing.T, s *Service) (release func()) {
	t.Helper()
	_, release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestThereWhenNeeded(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.Idle = time.Millisecond })
	if s.pid() != 0 {
		t.Fatal("it runs before anybody asks")
	}
	one, two := use(t, s), use(t, s)
	pid := s.pid()
	one()
	one() // counts once
	if s.pid() != pid {
		t.Fatal("it was ended under a user")
	}
	two()
	until(t, "it is not ended when nobody uses it", func() bool { return s.pid() == 0 })
	if err := syscall.Kill(pid, 0); err == nil {
		until(t, "its process is left", func() bool { return syscall.Kill(pid, 0) != nil })
	}
	use(t, s)()
}

func TestStartedAgainWhenItDied(t *testing.T) {
	s, _ := start(t, nil)
	release := use(t, s)
	old, ended := s.pid(), s.now.process.Ended()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	release()
	use(t, s)()
	if now := s.pid(); now == old || now == 0 {
		t.Errorf("pid %d", now)
	}
}

// The next engine goes on with the daemon, unless it shall be told something else.
func TestNextEngine(t *testing.T) {
	first, _ := start(t, nil)
	use(t, first)()
	pid := first.pid()
	second := New(first.o)
	if err := second.Load(t.Context()); err != nil || second.pid() != pid {
		t.Errorf("pid %d, want %d: %v", second.pid(), pid, err)
	}
	o := first.o
	o.Settings = func() Settings { return Settings{Namespace: "other"} }
	third := New(o)
	if err := third.Load(t.Context()); err != nil || third.pid() != 0 {
		t.Errorf("pid %d: %v", third.pid(), err)
	}
	until(t, "it is left with what it was told before", func() bool { return syscall.Kill(pid, 0) != nil })
}

// What is told to the engine while it runs reaches the daemon when nobody uses it.
func TestReloaded(t *testing.T) {
	var now Settings
	s, _ := start(t, func(o *Options) { o.Settings = func() Settings { return now } })
	release := use(t, s)
	pid := s.pid()
	now.Namespace = "other"
	use(t, s)()
	if s.pid() != pid {
		t.Error("it was ended under a user")
	}
	release()
	use(t, s)()
	if s.pid() == pid {
		t.Error("it was not told")
	}
}

func TestClosed(t *testing.T) {
	s, _ := start(t, nil)
	use(t, s)()
	pid := s.pid()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Use(t.Context()); err == nil {
		t.Error("it can be used")
	}
	until(t, "it is left", func() bool { return syscall.Kill(pid, 0) != nil })
}

func TestCannotBeStarted(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.Program = "/bin/false" })
	if _, _, err := s.Use(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(s.configFile()); err != nil {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	s, n := start(t, nil)
	u, err := s.DiskUsage(t.Context())
	if err != nil || u.TotalCount != 0 || s.pid() != 0 {
		t.Errorf("before the first build: %+v %v, pid %d", u, err, s.pid())
	}
	report, err := s.Prune(t.Context(), Prune{})
	if err != nil || report.SpaceReclaimed != 0 || s.pid() != 0 {
		t.Errorf("before the first build: %+v %v, pid %d", report, err, s.pid())
	}
	use(t, s)()
	if u, err = s.DiskUsage(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := &build.DiskUsage{TotalCount: 3, ActiveCount: 1, TotalSize: 7, Reclaimable: 4, Items: []build.CacheRecord{
		{ID: "used", Size: 1, InUse: true}, {ID: "shared", Size: 2, Shared: true}, {ID: "free", Size: 4, Type: "regular"},
	}}
	if d := cmp.Diff(want, u); d != "" {
		t.Error(d)
	}
	report, err = s.Prune(t.Context(), Prune{All: true, Keep: time.Hour})
	if d := cmp.Diff(&build.CachePruneReport{CachesDeleted: []string{"a", "b"}, SpaceReclaimed: 7}, report); err != nil || d != "" {
		t.Error(err, d)
	}
	if d := cmp.Diff([]string{"builder prune 0", "builder prune 7"}, n.told); d != "" {
		t.Error(d)
	}
}
