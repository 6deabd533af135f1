package outlive

import (
	"context"
	"log/slog"
	"time"
)

// Until tries to connect until that works, more and more seldom, and logs each failure. The error is the context's.
func Until[C any](ctx context.Context, failure string, connect func() (C, error)) (c C, err error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if c, err = connect(); err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		slog.Error(failure, "error", err)
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(wait):
		}
	}
}
