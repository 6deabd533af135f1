package netkeeper

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// Lazy is a client whose netkeeper is started by the first port or sandbox: an engine without any needs none. One of an
// engine before is found by the first question of any kind.
type Lazy struct {
	dir string

	mu     sync.Mutex
	client *Client
}

// NewLazy is a client for a state folder.
func NewLazy(dir string) *Lazy { return &Lazy{dir: dir} }

// Publish is Client.Publish.
func (l *Lazy) Publish(ctx context.Context, owner string, group ...Port) ([]Port, error) {
	k, err := l.started(ctx)
	if err != nil {
		return nil, err
	}
	return k.Publish(ctx, owner, group...)
}

// Answer is Client.Answer.
func (l *Lazy) Answer(ctx context.Context, s Sandbox) error {
	k, err := l.started(ctx)
	if err != nil {
		return err
	}
	return k.Answer(ctx, s)
}

// Unpublish is Client.Unpublish.
func (l *Lazy) Unpublish(ctx context.Context, owner string, list ...Port) error {
	k, err := l.found(ctx)
	if k == nil {
		return err
	}
	return k.Unpublish(ctx, owner, list...)
}

// Forget is Client.Forget.
func (l *Lazy) Forget(ctx context.Context, id string) error {
	k, err := l.found(ctx)
	if k == nil {
		return err
	}
	return k.Forget(ctx, id)
}

// List is Client.List.
func (l *Lazy) List(ctx context.Context) (List, error) {
	k, err := l.found(ctx)
	if k == nil {
		return List{}, err
	}
	return k.List(ctx)
}

// Disconnect is Client.Disconnect.
func (l *Lazy) Disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.Disconnect()
	}
}

func (l *Lazy) started(ctx context.Context) (*Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(ctx)
}

// found is nil when there is no netkeeper.
func (l *Lazy) found(ctx context.Context) (*Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		switch _, err := os.Stat(outlive.Socket(l.dir, Argument)); {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
	return l.find(ctx)
}

// find needs the lock.
func (l *Lazy) find(ctx context.Context) (*Client, error) {
	if l.client != nil {
		return l.client, nil
	}
	k, err := Find(ctx, l.dir)
	if err != nil {
		return nil, err
	}
	l.client = k
	return k, nil
}
