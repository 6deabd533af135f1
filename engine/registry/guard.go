package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

const (
	// maxAnswer bounds every answer that is no blob: manifests, tokens, lists of tags, in bytes. It is a little more than
	// what is accepted of a manifest.
	maxAnswer = 8 << 20
	// trickle is how many bytes a registry must send within the stall time.
	trickle = 4 << 10
)

// guard is a bound on what a registry's answers may cost: time without data, and memory.
type guard struct {
	stall time.Duration
}

// stalled is the error of a registry that did next to nothing for a time.
type stalled time.Duration

// Error implements error.
func (s stalled) Error() string {
	return fmt.Sprintf("the registry took or sent next to nothing for %s", time.Duration(s))
}

// wrap puts the guard before a transport.
func (g guard) wrap(t http.RoundTripper) http.RoundTripper {
	return guarded{guard: g, next: t}
}

type guarded struct {
	guard
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	watch := &body{limit: -1, cancel: cancel, stall: g.stall, ctx: ctx}
	if !ofBlob(r) {
		watch.limit = maxAnswer
	}
	r = withoutForeign(r.WithContext(ctx))
	watch.timer = time.AfterFunc(g.stall, func() {
		cancel(fault.As(errdefs.ErrUnavailable, stalled(g.stall)))
	})
	watch.upload(r)
	response, err := g.next.RoundTrip(r)
	if err != nil {
		err = watch.cause(err)
		watch.end()
		return nil, err
	}
	watch.timer.Reset(g.stall)
	watch.ReadCloser, response.Body = response.Body, watch
	return response, nil
}

// withoutForeign drops credentials that net/http took along to another host: it goes by the name alone, and a subdomain
// or another port may be somebody else's.
func withoutForeign(r *http.Request) *http.Request {
	if r.Response == nil || r.Response.Request == nil {
		return r
	}
	from := r.Response.Request
	given := r.Header.Get("Authorization")
	if given == "" || from.URL.Host == r.URL.Host || from.Header.Get("Authorization") != given {
		return r
	}
	r.Header = r.Header.Clone()
	r.Header.Del("Authorization")
	return r
}

// CloseIdleConnections is for http.Client's.
func (g guarded) CloseIdleConnections() {
	if c, ok := g.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// ofBlob says that a request is for a blob, or what a request for a blob was redirected to.
func ofBlob(r *http.Request) bool {
	for r.Response != nil && r.Response.Request != nil {
		r = r.Response.Request
	}
	return strings.Contains(r.URL.Path, "/blobs/")
}

// body is an answer's body under watch. Only one goroutine reads it.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
	// limit is how many bytes may still come; negative for any number. since are those since the timer was set.
	limit, since int64
}

// upload counts what is sent, too.
func (b *body) upload(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	again := r.GetBody
	r.Body = sent{r.Body, b}
	if again != nil {
		r.GetBody = func() (io.ReadCloser, error) {
			rc, err := again()
			return sent{rc, b}, err
		}
	}
}

// sent is a request's body under the same watch.
type sent struct {
	io.ReadCloser
	watch *body
}

// Read implements io.Reader.
func (s sent) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.watch.timer.Reset(s.watch.stall)
	return n, err
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.limit >= 0 && int64(len(p)) > b.limit+1 {
		p = p[:b.limit+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.limit >= 0 {
		if int64(n) > b.limit {
			return 0, fault.Errorf(errdefs.ErrInvalidArgument, "the registry's answer is larger than %d bytes", maxAnswer)
		}
		b.limit -= int64(n)
	}
	if b.since += int64(n); b.since >= trickle {
		b.since = 0
		b.timer.Reset(b.stall)
	}
	if err != nil && err != io.EOF {
		err = b.cause(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

func (b *body) end() {
	b.timer.Stop()
	b.cancel(nil)
}

// cause tells why a request ended: the transport only says that it was canceled.
func (b *body) cause(err error) error {
	if cause := context.Cause(b.ctx); cause != nil {
		return cause
	}
	return err
}
