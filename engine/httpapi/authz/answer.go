package authz

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// maxAnswer is how long an answer in JSON may be that is not a stream, in bytes: plugins see it whole.
const maxAnswer = 16 << 20

// answer keeps back what a handler says until the plugins have allowed it. JSON they see whole; of a stream they see its
// header, before anything is sent.
type answer struct {
	to     http.ResponseWriter
	header http.Header
	status int
	body   []byte
	// showBody is false where answers have secrets in them.
	showBody bool
	allowed  func(status int, h http.Header, body []byte) error
	// stop ends the handler of an answer that was denied.
	stop func()
	// open says that the answer goes to the client; denied is why it does not.
	open   bool
	denied error
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.open {
		return a.to.Header()
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	switch {
	case a.open:
		a.to.WriteHeader(code)
	case a.status == 0 && code >= http.StatusOK:
		a.status = code
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if !a.open && (err != nil || !isJSON(kind)) {
		if err := a.decide(); err != nil {
			return 0, err
		}
	}
	switch {
	case a.open:
		return a.to.Write(p)
	case a.denied != nil:
		return 0, a.denied
	case len(a.body)+len(p) > maxAnswer:
		a.deny(fault.Errorf(errdefs.ErrPermissionDenied, "response body too large for authorization plugin: size exceeds %d bytes", maxAnswer))
		return 0, a.denied
	}
	a.body = append(a.body, p...)
	return len(p), nil
}

// FlushError is for http.ResponseController. What is sent in pieces is a stream.
func (a *answer) FlushError() error {
	if err := a.decide(); err != nil {
		return err
	}
	return http.NewResponseController(a.to).Flush()
}

// Flush implements http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }

// Hijack implements http.Hijacker. What goes over the connection from here on is between client and container.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := a.decide(); err != nil {
		return nil, nil, err
	}
	return http.NewResponseController(a.to).Hijack()
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.to }

// decide asks the plugins, once, and sends what there is.
func (a *answer) decide() error {
	if a.open || a.denied != nil {
		return a.denied
	}
	var shown []byte
	if a.showBody {
		shown = a.body
	}
	if err := a.allowed(a.status, a.header, shown); err != nil {
		a.deny(err)
		return err
	}
	a.open = true
	clear(a.to.Header())
	maps.Copy(a.to.Header(), a.header)
	if a.status != 0 {
		a.to.WriteHeader(a.status)
	}
	if len(a.body) == 0 {
		return nil
	}
	_, err := a.to.Write(a.body)
	a.body = nil
	return err
}

func (a *answer) deny(err error) {
	a.denied, a.body = err, nil
	a.stop()
}

// end is the end of a handler that went well.
func (a *answer) end() error {
	if a.status == 0 && !a.open {
		a.status = http.StatusOK
	}
	return a.decide()
}

// fail is the end of a handler that did not: its error is an answer, too.
func (a *answer) fail(err error) error {
	if a.open {
		return err
	}
	if a.denied != nil {
		return a.denied
	}
	body, encoding := json.Marshal(map[string]string{"message": err.Error()})
	if encoding != nil {
		return fmt.Errorf("%w: %w", err, encoding)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if denied := a.allowed(httpapi.Status(err), h, body); denied != nil {
		return denied
	}
	return err
}
