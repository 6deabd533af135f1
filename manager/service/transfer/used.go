package transfer

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/streaming"
)

// used gets streams and remembers them.
type used struct {
	getter  streaming.StreamGetter
	mu      sync.Mutex
	streams []streaming.Stream
}

// Get finds a stream of the namespace of ctx.
func (u *used) Get(ctx context.Context, name string) (streaming.Stream, error) {
	stream, err := u.getter.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.streams = append(u.streams, stream)
	return stream, nil
}

func (u *used) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, stream := range u.streams {
		stream.Close() //nolint:errcheck // the answer says how the transfer went, and the client may have gone
	}
}
