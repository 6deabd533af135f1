package buildkit

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Relay passes on what clients ask. *buildkit.Relay is it.
type Relay interface {
	http.Handler
	Serve(net.Conn)
	Session(ctx context.Context, headers map[string][]string) (*buildkit.Session, error)
}

// New is the routes of connections that leave HTTP.
func New(r Relay) httpapi.Router {
	b := routes{r}
	return httpapi.Routes{
		{Method: http.MethodPost, Path: "/grpc", Handle: b.grpc},
		{Method: http.MethodPost, Path: "/session", Handle: b.session},
	}
}

// Guard may refuse a call. *authz.Chain is it.
type Guard interface {
	Admit(*http.Request) error
}

// Direct answers gRPC that comes by HTTP/2, and leaves the rest to another handler.
func Direct(r Relay, g Guard, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.ProtoMajor != 2 || !strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
			rest.ServeHTTP(w, req)
			return
		}
		if err := g.Admit(req); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		r.ServeHTTP(w, req)
	})
}

type routes struct{ Relay }

// upgrade is the one protocol that connections can go over to.
const upgrade = "h2c"

func wantsUpgrade(r *http.Request) error {
	switch proto := r.Header.Get("Upgrade"); proto {
	case upgrade:
		return nil
	case "":
		return errors.New("no upgrade proto in request")
	default:
		return errors.New("protocol " + proto + " not supported")
	}
}

func (b routes) grpc(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := wantsUpgrade(r); err != nil {
		return err
	}
	conn, err := leave(w)
	if err != nil {
		return err
	}
	b.Serve(conn)
	return nil
}

// session is answered when the daemon has taken it, so that its error can be the answer's.
func (b routes) session(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := wantsUpgrade(r); err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	s, err := b.Session(ctx, r.Header)
	if err != nil {
		return err
	}
	defer s.Close()
	conn, err := leave(w)
	if err != nil {
		return err
	}
	if err := s.Pass(conn); err != nil {
		slog.Debug("a session of a build was broken off", "error", err)
	}
	return nil
}

// leave takes a connection out of HTTP.
func leave(w http.ResponseWriter) (net.Conn, error) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return nil, errors.New("the connection cannot be taken over")
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		return nil, err
	}
	early, err := rw.Peek(rw.Reader.Buffered())
	if err == nil {
		early = append([]byte(nil), early...)
		_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + "\r\n\r\n"))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &begun{Conn: conn, early: early}, nil
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	early []byte
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.early) > 0 {
		n := copy(p, b.early)
		b.early = b.early[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}
