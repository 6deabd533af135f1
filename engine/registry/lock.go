package registry

import (
	"context"
	"sync"
)

// locker lets one transfer at a time do what a key names: fetch a blob, unpack a snapshot. The others wait, and then
// find it done.
type locker struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

type keyLock struct {
	held chan struct{}
	// users hold it or wait for it.
	users int
}

func newLocker() *locker { return &locker{keys: map[string]*keyLock{}} }

// Lock waits until the key is free, or the context ends.
func (l *locker) Lock(ctx context.Context, key string) error {
	l.mu.Lock()
	k := l.keys[key]
	if k == nil {
		k = &keyLock{held: make(chan struct{}, 1)}
		l.keys[key] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.leave(key, k)
		return context.Cause(ctx)
	}
}

// Unlock frees a key that the caller has locked.
func (l *locker) Unlock(key string) {
	l.mu.Lock()
	k := l.keys[key]
	l.mu.Unlock()
	<-k.held
	l.leave(key, k)
}

func (l *locker) leave(key string, k *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.keys, key)
	}
}
