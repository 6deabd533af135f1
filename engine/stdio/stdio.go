package stdio

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"time"

	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/outlive"
	"github.com/gantry-containers/gantry/engine/tasks"
)

type (
	// Key names the streams of one process.
	Key = keeper.Key
	// Streams is what the keeper needs to know about a process before it starts.
	Streams = keeper.Streams
	// Log says how output is kept.
	Log = keeper.Log
	// Attach is what a client wants of a process's streams.
	Attach = keeper.Attach
	// Ended is how a session of a client ended.
	Ended = keeper.Ended
	// Notice is something that the keeper tells: the end of input came, and the process must be told by the manager. It
	// is told when the process exists, and again to every engine that comes later.
	Notice = keeper.Notice
)

// Open makes the FIFOs of a process and begins to read. It is idempotent: streams that are open go on.
func (k *Keeper) Open(ctx context.Context, s Streams) (tasks.IO, error) {
	r, err := k.ask(ctx, keeper.OpenRequest(s))
	if err != nil {
		return tasks.IO{}, err
	}
	if r.Paths == nil {
		return tasks.IO{}, errors.New("the keeper names no FIFOs")
	}
	k.remember(s, r.Paths)
	return tasks.IO{Stdin: r.Paths.Stdin, Stdout: r.Paths.Stdout, Stderr: r.Paths.Stderr, Terminal: s.Terminal}, nil
}

// Attach hands a client's connection to the keeper, which serves it even when the engine dies. It may come before
// Open: the session waits for the process. The connection belongs to the keeper, whatever is answered. The channel
// tells the end of the session.
func (k *Keeper) Attach(ctx context.Context, key Key, a Attach, conn net.Conn) (<-chan Ended, error) {
	fd, err := descriptor(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	defer fd.Close()
	var b [16]byte
	_, _ = rand.Read(b[:])
	id := hex.EncodeToString(b[:])
	ended := make(chan Ended, 1)
	k.mu.Lock()
	k.sessions[id] = ended
	k.mu.Unlock()
	if _, err := k.ask(ctx, keeper.AttachRequest(key, id, a), fd); err != nil {
		k.mu.Lock()
		delete(k.sessions, id)
		k.mu.Unlock()
		return nil, err
	}
	return ended, nil
}

// Drained waits until all output of an ended process is in the log and with the clients; at most for limit, since a
// child of the process may hold the pipe open. The sessions of its clients have ended then, its log is closed, and its
// FIFOs are gone.
func (k *Keeper) Drained(ctx context.Context, key Key, limit time.Duration) error {
	_, err := k.ask(ctx, keeper.DrainedRequest(key, limit))
	k.forget(key)
	return err
}

// Close forgets the streams of a process, ends its sessions, also of those who wait for it, and removes the FIFOs.
func (k *Keeper) Close(ctx context.Context, key Key) error {
	k.forget(key)
	_, err := k.ask(ctx, keeper.CloseRequest(key))
	return err
}

func (k *Keeper) forget(key Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.opened[key]; s != nil {
		outlive.CloseAll(s.held)
	}
	delete(k.opened, key)
}

// Notices tells what the keeper has to say, also what it had to say while no engine was there. The channel is closed
// with the connection's end.
func (k *Keeper) Notices() <-chan Notice { return k.notices }

// Pid is the process id of the keeper that is connected; 0 between two.
func (k *Keeper) Pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil {
		return 0
	}
	return k.conn.pid
}

// Disconnect ends the connection to the keeper, which goes on.
func (k *Keeper) Disconnect() {
	k.stop()
	<-k.done
}

// ask sends a request and waits for its answer. When the keeper dies meanwhile, the next one is asked: every request
// can be repeated, and descriptors are still here.
func (k *Keeper) ask(ctx context.Context, r keeper.Request, fds ...*handle) (keeper.Reply, error) {
	for {
		c, err := k.connection(ctx)
		if err != nil {
			return keeper.Reply{}, err
		}
		reply, err := c.ask(ctx, r, fds)
		if errors.Is(err, outlive.ErrLost) {
			continue
		}
		if err == nil && reply.Error != "" {
			err = errors.New(reply.Error)
		}
		return reply, err
	}
}
