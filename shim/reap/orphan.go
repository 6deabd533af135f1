package reap

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Subreaper makes the processes whose parents end children of this one: container processes, which the runtime
// leaves behind, and whatever a hook or a container without a pid namespace lets go (prctl(2)).
func Subreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}

// settle is how long a zombie must lie before it is an orphan: whoever waits for a process of his own does so at once.
const settle = time.Second

// Orphans reaps, from now on, the children that nobody waits for. It is told of each SIGCHLD by died.
func Orphans() (died func()) {
	signals := make(chan struct{}, 1)
	go func() {
		for range signals {
			var before map[int]bool
			for {
				time.Sleep(settle)
				if before = sweep(before); len(before) == 0 {
					break
				}
			}
		}
	}()
	return func() {
		select {
		case signals <- struct{}{}:
		default: // the next sweep is yet to come
		}
	}
}

// sweep reaps the zombies that lay there before, and returns those that are new.
func sweep(before map[int]bool) map[int]bool {
	fresh := map[int]bool{}
	for _, pid := range children() {
		switch {
		case watched.has(pid) || !zombie(pid):
		case before[pid] && !watched.expecting():
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // how an orphan ended is nobody's business
		default:
			fresh[pid] = true
		}
	}
	return fresh
}

// children lists the children of all threads (proc(5), /proc/PID/task/TID/children).
func children() []int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	var pids []int
	for _, task := range tasks {
		list, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue // the thread has ended
		}
		for field := range bytes.FieldsSeq(list) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// zombie says whether a process is one: the state follows the name, which may hold anything, in its stat.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return bytes.HasPrefix(state, []byte("Z"))
}

// Claim keeps a child, until the release, from being taken for an orphan: the caller waits for it himself.
func Claim(pid int) (release func()) {
	watched.add(pid)
	return func() { watched.remove(pid) }
}

// Expect keeps every zombie, until the release, from being taken for an orphan: the OCI runtime is about to leave a
// process behind, which may end long before its number is known.
func Expect() (release func()) {
	watched.expect(1)
	return func() { watched.expect(-1) }
}

// watched are the processes that somebody waits for.
var watched = &pidSet{pids: map[int]bool{}}

type pidSet struct {
	mu       sync.Mutex
	pids     map[int]bool
	expected int // how many may come whose numbers are not known yet
}

func (s *pidSet) expect(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected += n
}

func (s *pidSet) expecting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expected > 0
}

func (s *pidSet) add(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pids[pid] = true
}

func (s *pidSet) remove(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pids, pid)
}

func (s *pidSet) has(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pids[pid]
}
