package streaming

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/streaming"
	"github.com/containerd/typeurl/v2"
)

// Create opens a stream from within the process and answers with the client's end: it makes Manager a
// streaming.StreamCreator, for programs that embed the manager. The stream ends with ctx.
func (m *Manager) Create(ctx context.Context, name string) (streaming.Stream, error) {
	there, back := make(chan typeurl.Any), make(chan typeurl.Any)
	client, server := newEnd(there, back), newEnd(back, there)
	client.peer, server.peer = server, client
	e, err := m.register(ctx, name, served{server})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		client.Close() //nolint:errcheck // it has no error
		e.Close()      //nolint:errcheck // it has no error
	})
	return client, nil
}

// served is the manager's end. Closing it ends the stream in both directions, as the end of an RPC does.
type served struct{ *end }

// Close ends both ends.
func (s served) Close() error {
	return errors.Join(s.end.Close(), s.peer.Close())
}

// end is one end of a stream in memory.
type end struct {
	out, in chan typeurl.Any
	closed  chan struct{}
	once    sync.Once
	peer    *end
}

func newEnd(out, in chan typeurl.Any) *end {
	return &end{out: out, in: in, closed: make(chan struct{})}
}

// Send waits until the other end has taken the message.
func (e *end) Send(a typeurl.Any) error {
	select {
	case <-e.closed:
		return io.EOF
	case <-e.peer.closed:
		return io.EOF
	case e.out <- a:
		return nil
	}
}

// Recv waits for a message; io.EOF says that the other end will send no more.
func (e *end) Recv() (typeurl.Any, error) {
	select {
	case a := <-e.in:
		return a, nil
	case <-e.peer.closed:
		return nil, io.EOF
	}
}

// Close says that this end sends nothing more.
func (e *end) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}
