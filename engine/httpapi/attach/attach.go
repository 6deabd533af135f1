package attach

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/logs"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// wanted is what a client asks for.
type wanted struct {
	stdio.Attach
	// logs says that what was written before comes first, stream that what comes is wanted.
	logs, stream bool
}

func wantedOf(r *http.Request) wanted {
	return wanted{
		Attach: stdio.Attach{
			Stdin: httpapi.Bool(r, "stdin"), Stdout: httpapi.Bool(r, "stdout"), Stderr: httpapi.Bool(r, "stderr"),
		},
		logs: httpapi.Bool(r, "logs"), stream: httpapi.Bool(r, "stream"),
	}
}

func (s *Routes) attach(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	c, want, err := s.prepare(r, vars["name"])
	if err != nil {
		return refuse(w, err)
	}
	want.Mux = !c.Config.Tty
	kind := types.MediaTypeRawStream
	if _, upgrade := r.Header["Upgrade"]; upgrade && want.Mux && !httpapi.Before(ctx, "1.42") {
		kind = types.MediaTypeMultiplexedStream
	}
	clear(w.Header()) // What every answer has is not told here: that is how it always was.
	h, head, err := httpapi.TakeOver(w, r, kind)
	if err != nil {
		return err
	}
	// Who reads the head may start the container: the session has to be there before.
	want.Early, want.Head = h.Early, head
	// The connection is not this request's any more: it lives longer than the engine.
	s.serve(context.WithoutCancel(ctx), c, want, h.Conn)
	return nil
}

// refuse answers on the raw connection, as dockerd does: clients that wait for a stream do not read JSON.
func refuse(w http.ResponseWriter, err error) error {
	h, ok := w.(http.Hijacker)
	if !ok {
		return err
	}
	conn, _, hijack := h.Hijack()
	if hijack != nil {
		return err
	}
	defer conn.Close()
	status := httpapi.Status(err)
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n\r\n%s\r\n", status, http.StatusText(status), types.MediaTypeRawStream, err)
	return nil
}

// prepare finds the container and says no to those that nobody can attach to.
func (s *Routes) prepare(r *http.Request, name string) (*container.Container, wanted, error) {
	want := wantedOf(r)
	typed := r.FormValue("detachKeys")
	keys, err := parseKeys(typed)
	if err != nil {
		return nil, want, fault.Errorf(errdefs.ErrInvalidArgument, "Invalid detach keys (%s) provided", typed)
	}
	c, err := s.Containers.Get(name)
	if err != nil {
		return nil, want, err
	}
	switch c.State.Status {
	case container.Paused:
		return nil, want, fault.Errorf(errdefs.ErrConflict, "container %s is paused, unpause the container before attach", name)
	case container.Restarting:
		return nil, want, fault.Errorf(errdefs.ErrConflict, "container %s is restarting, wait until the container is running", name)
	default:
	}
	if c.Config.Tty {
		want.DetachKeys = keys
	}
	return c, want, nil
}

// serve gives a connection to the keeper, after what the log has.
func (s *Routes) serve(ctx context.Context, c *container.Container, want wanted, conn net.Conn) {
	if !want.stream {
		_, _ = conn.Write(want.Head)
		if want.logs {
			s.past(ctx, c, want, conn)
		}
		s.tell(c, events.ActionAttach, nil)
		conn.Close()
		return
	}
	late := &lateConn{Conn: conn, ready: make(chan struct{})}
	head := want.Head
	if want.logs {
		conn, want.Head = late, nil
	}
	ended, err := s.Streams.Attach(ctx, stdio.Key{Container: c.ID}, want.Attach, conn)
	if err != nil {
		return // The keeper cannot be reached; the connection is closed.
	}
	if want.logs {
		_, _ = late.Conn.Write(head)
		s.past(ctx, c, want, late.Conn)
		close(late.ready)
	}
	s.tell(c, events.ActionAttach, nil)
	go func() {
		if e := <-ended; e.Detached {
			s.tell(c, events.ActionDetach, nil)
		}
	}()
}

// lateConn holds new output back until the old is written. The engine relays it, since it is more than a socket.
type lateConn struct {
	net.Conn
	ready chan struct{}
}

func (l *lateConn) Write(p []byte) (int, error) {
	<-l.ready
	return l.Conn.Write(p)
}

// CloseWrite passes half a close on.
func (l *lateConn) CloseWrite() error {
	if w, ok := l.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// past writes what the log has to a client.
func (s *Routes) past(ctx context.Context, c *container.Container, want wanted, conn net.Conn) {
	out := newLines(conn, want.Mux, view{stdout: want.Stdout, stderr: want.Stderr})
	err := errNoReading
	if driver := c.HostConfig.LogConfig.Type; driver != logs.None {
		err = logs.Read(ctx, driver, logs.Path(driver, s.Containers.Dir(c.ID), c.ID), logs.Query{Tail: -1}, out.write)
	}
	if err != nil {
		out.tell(fmt.Sprintf("Error attaching: %v\n", err))
	}
}

// closeOnce is a connection that tells when it is closed.
type closeOnce struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (c *closeOnce) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
