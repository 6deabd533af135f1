package containers

import "sync"

// lanes does things in order for each container, and side by side for different ones.
type lanes struct {
	mu sync.Mutex
	m  map[string][]func()
}

func newLanes() *lanes { return &lanes{m: map[string][]func(){}} }

// do returns at once.
func (l *lanes) do(id string, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue, busy := l.m[id]
	if busy {
		l.m[id] = append(queue, f)
		return
	}
	l.m[id] = nil
	go l.work(id, f)
}

func (l *lanes) work(id string, f func()) {
	for {
		f()
		l.mu.Lock()
		queue := l.m[id]
		if len(queue) == 0 {
			delete(l.m, id)
			l.mu.Unlock()
			return
		}
		f = queue[0]
		l.m[id] = queue[1:]
		l.mu.Unlock()
	}
}
