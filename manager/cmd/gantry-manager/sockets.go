package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/gantry-containers/gantry/manager"
	"github.com/gantry-containers/gantry/manager/config"
)

// sockets is where the daemon listens. metrics and debug are nil where nobody asked for them.
type sockets struct{ grpc, ttrpc, metrics, debug net.Listener }

func listen(c config.Config) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.grpc, err = manager.Listen(c.GRPC); err != nil {
		return nil, err
	}
	if s.ttrpc, err = manager.Listen(c.TTRPC); err != nil {
		return nil, err
	}
	if c.Debug.Address != "" {
		if s.debug, err = manager.Listen(config.Socket{Address: c.Debug.Address, UID: c.Debug.UID, GID: c.Debug.GID}); err != nil {
			return nil, err
		}
	}
	if c.Metrics.Address != "" {
		if s.metrics, err = net.Listen("tcp", c.Metrics.Address); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return s, nil
}

// close closes, and so removes, what there is. Each can be closed twice.
func (s *sockets) close() {
	for _, l := range []net.Listener{s.grpc, s.ttrpc, s.metrics, s.debug} {
		if l != nil {
			l.Close()
		}
	}
}

// serveHTTP serves a socket until it is closed.
func serveHTTP(l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	if err := server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// metricsHandler has the place where containerd has it.
func metricsHandler(m *manager.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/metrics", m.Metrics())
	return mux
}

// debugHandler is what `go tool pprof` and `ctr pprof` ask.
func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
