package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Hijacked is a connection that left HTTP: raw bytes in both directions.
type Hijacked struct {
	net.Conn
	// Early is what the client sent right after its request, and was read with it.
	Early []byte
}

// CloseWrite ends the direction to the client, which may go on sending.
func (h *Hijacked) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return h.Close()
}

// Hijack takes the client's connection over. The answer is 101 when the client asked for an upgrade, 200 otherwise;
// contentType is told to the client. Nothing may have been written before; after it, errors belong into the stream.
func Hijack(w http.ResponseWriter, r *http.Request, contentType string) (*Hijacked, error) {
	h, head, err := TakeOver(w, r, contentType)
	if err != nil {
		return nil, err
	}
	if _, err := h.Write(head); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// TakeOver is Hijack without the answer: it gives the bytes of it, which have to be the first to go to the client. A
// client that reads them may count on what was prepared before.
func TakeOver(w http.ResponseWriter, r *http.Request, contentType string) (h *Hijacked, head []byte, err error) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return nil, nil, fault.Errorf(errdefs.ErrInvalidArgument, "the connection cannot be taken over")
	}
	// dockerode sends its options as a body, too: that is not yet what the stream has. A body that was read as JSON is
	// closed, which leaves nothing of it either.
	if r.ContentLength > 0 {
		if _, err := io.Copy(io.Discard, r.Body); err != nil && !errors.Is(err, http.ErrBodyReadAfterClose) {
			return nil, nil, err
		}
	}
	header := w.Header()
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, err := pending(rw.Reader)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	line := "HTTP/1.1 200 OK\r\n"
	header.Set("Content-Type", contentType)
	if r.Header.Get("Upgrade") != "" {
		line = "HTTP/1.1 101 UPGRADED\r\n"
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "tcp")
	}
	var out bytes.Buffer
	out.WriteString(line)
	_ = header.Write(&out)
	out.WriteString("\r\n")
	return &Hijacked{Conn: conn, Early: early}, out.Bytes(), nil
}

func pending(r *bufio.Reader) ([]byte, error) {
	b, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), b...), nil
}
