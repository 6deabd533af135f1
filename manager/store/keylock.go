package store

import (
	"context"
	"sync"
)

// keyLock is a lock for each key, for the unpacker: one fetches a blob, or unpacks a layer, and the others wait for it.
type keyLock struct {
	mu   sync.Mutex
	keys map[string]*heldKey
}

type heldKey struct {
	turn  chan struct{} // holds one value while the key is locked
	users int           // who hold it, or wait for it
}

func newKeyLock() *keyLock { return &keyLock{keys: map[string]*heldKey{}} }

// Lock waits until key is free; the error is ctx's.
func (l *keyLock) Lock(ctx context.Context, key string) error {
	l.mu.Lock()
	k, ok := l.keys[key]
	if !ok {
		k = &heldKey{turn: make(chan struct{}, 1)}
		l.keys[key] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.leave(key, k)
		return ctx.Err()
	}
}

// Unlock frees a key that the caller holds. One that nobody holds stays free.
func (l *keyLock) Unlock(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, ok := l.keys[key]
	if !ok {
		return
	}
	select {
	case <-k.turn:
		l.leave(key, k)
	default: // others wait for it, and will have it at once
	}
}

// leave forgets a key that nobody uses any more. The caller has the lock.
func (l *keyLock) leave(key string, k *heldKey) {
	if k.users--; k.users == 0 {
		delete(l.keys, key)
	}
}
