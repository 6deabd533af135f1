package buildkit

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

// builds are those that clients have given an id, by which they can be ended, and sent their context.
type builds struct {
	mu     sync.Mutex
	cancel map[string]context.CancelFunc
	waits  map[string]chan *upload
}

// upload is a context that comes with another request.
type upload struct {
	io.Reader
	done chan struct{}
	once sync.Once
}

// Read tells the end.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil {
		u.finish()
	}
	return n, err
}

func (u *upload) finish() { u.once.Do(func() { close(u.done) }) }

// uploadPrefix begins the build id of a request that brings the context of another one.
const uploadPrefix = "upload-request:"

// uploadPatience is how long two requests that belong together may wait for each other.
const uploadPatience = 5 * time.Second

// begin notes a build until done. An empty id is no id.
func (b *builds) begin(ctx context.Context, id string) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	if id == "" {
		return ctx, cancel
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancel[id] = cancel
	return ctx, func() {
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.cancel, id)
		delete(b.waits, id)
	}
}

// meeting is where the two requests of a build meet.
func (b *builds) meeting(id string) chan *upload {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits[id] == nil {
		b.waits[id] = make(chan *upload)
	}
	return b.waits[id]
}

// await is the context that another request brings.
func (b *builds) await(ctx context.Context, id string) (*upload, error) {
	ctx, cancel := context.WithTimeout(ctx, uploadPatience)
	defer cancel()
	select {
	case u := <-b.meeting(id):
		return u, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bring gives a build its context, and returns when it has been read.
func (b *builds) bring(ctx context.Context, id string, r io.Reader) error {
	u := &upload{Reader: r, done: make(chan struct{})}
	patience := time.NewTimer(uploadPatience)
	defer patience.Stop()
	select {
	case b.meeting(strings.TrimPrefix(id, uploadPrefix)) <- u:
	case <-patience.C:
		return errors.New("nobody waits for this context")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-u.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Cancel ends a build. There may be none of that id.
func (s *Service) Cancel(id string) {
	s.builds.mu.Lock()
	defer s.builds.mu.Unlock()
	if cancel := s.builds.cancel[id]; cancel != nil {
		cancel()
	}
}
