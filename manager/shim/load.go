package shim

import (
	"context"
	"errors"
	"fmt"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// Load connects to the shim of a bundle that an earlier manager started. errdefs.ErrNotFound: there is none any more.
// errdefs.ErrUnavailable: somebody listens, and does not answer within five seconds, or not well: it can be tried again.
func (l *Launcher) Load(ctx context.Context, b *bundle.Bundle) (*Shim, error) {
	ctx, cancel := context.WithTimeout(ctx, l.limits.answer)
	defer cancel()
	for _, place := range l.saved(b) {
		server, err := l.reach(ctx, b, place)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("shim of %q: %w: %w", b.ID, err, errdefs.ErrUnavailable)
		}
		place.Version = int32(server.version)
		log, logErr := openLog(b)
		if err := errors.Join(logErr, save(b, place)); err != nil {
			if log != nil {
				log.close()
			}
			l.release(server)
			return nil, err
		}
		return &Shim{launcher: l, bundle: b, server: server, log: log}, nil
	}
	return nil, fmt.Errorf("shim of %q: nobody listens any more: %w", b.ID, errdefs.ErrNotFound)
}

// reach connects to a server, which may be about to end: then it hangs up, and a moment later nobody listens.
func (l *Launcher) reach(ctx context.Context, b *bundle.Bundle, place *bootapi.BootstrapResult) (*server, error) {
	const tries = 6
	for i := 0; ; i++ {
		server, err := l.connect(ctx, b, place, nil)
		if !errors.Is(err, ttrpc.ErrClosed) || i == tries || ctx.Err() != nil {
			return server, err
		}
		time.Sleep(5 * time.Millisecond << i)
	}
}
