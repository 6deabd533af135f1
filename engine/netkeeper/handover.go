package netkeeper

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// A netkeeper of another build takes over in these steps, over the socket that engines use:
//
//	new → old   hand over
//	old         holds the loop's lock: nothing moves
//	old → new   the listening socket; ports with their connections; sandboxes with their sockets
//	new → old   ready
//	old → new   yours; it ends
//	new         goes on
//
// Until it has said "yours", the old one can go on itself, and does so when the new one fails. Meanwhile connections,
// datagrams and questions wait in their sockets, which both hold.

// handOverTime bounds how long a new netkeeper may take.
const handOverTime = 20 * time.Second

// step is what both sides say between what they hand over.
type step struct{ Step string }

const (
	stepSocket = "socket"
	stepReady  = "ready"
	stepYours  = "yours"
)

// handOver gives everything to a new netkeeper. When it returns true, this one has nothing any more, and the lock stays
// held.
func (k *keeper) handOver(w *outlive.Wire) bool {
	k.ops.Lock()
	_ = k.listener.SetDeadline(time.Unix(1, 0))
	k.loop.Lock()
	err := k.giveAway(w)
	if err == nil {
		return true
	}
	slog.Error("the netkeeper stays, since the next one failed", "error", err)
	k.loop.Unlock()
	_ = k.listener.SetDeadline(time.Time{})
	k.ops.Unlock()
	return false
}

// giveAway sends everything and waits until the other side has it.
func (k *keeper) giveAway(w *outlive.Wire) error {
	w.SetDeadline(time.Now().Add(handOverTime))
	if err := w.SendListener(step{stepSocket}, k.listener); err != nil {
		return err
	}
	if err := k.ports.Give(w); err != nil {
		return err
	}
	if err := k.names.Give(w); err != nil {
		return err
	}
	var answer step
	fds, err := w.Receive(&answer)
	outlive.CloseAll(fds)
	if err != nil {
		return err
	}
	if answer.Step != stepReady {
		return fmt.Errorf("the next netkeeper said %q", answer.Step)
	}
	_ = w.Send(step{stepYours})
	return nil
}

// takeOver becomes the netkeeper in the place of the one that serves the folder.
func (k *keeper) takeOver() (*net.UnixListener, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: Socket(k.dir), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	w := outlive.NewWire(conn)
	w.SetDeadline(time.Now().Add(2 * handOverTime))
	if err := w.Send(request{Op: opHandOver}); err != nil {
		return nil, err
	}
	l, err := k.takeAll(w)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	if err := w.Send(step{stepReady}); err != nil {
		return nil, err
	}
	// Whether it says so or dies: the old one does nothing any more.
	var yours step
	_, _ = w.Receive(&yours)
	return l, nil
}

func (k *keeper) takeAll(w *outlive.Wire) (*net.UnixListener, error) {
	var first step
	l, err := w.ReceiveListener(&first)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := k.ports.Take(w); err != nil {
		return nil, err
	}
	if err := k.names.Take(w); err != nil {
		return nil, err
	}
	return l, nil
}
