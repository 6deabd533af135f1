package httpapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// response remembers what became of an answer: whether its status can still be chosen.
type response struct {
	http.ResponseWriter
	started, hijacked bool
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(code int) {
	w.started = w.started || code >= http.StatusOK
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, for the server's own way to copy files.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.started = true
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	w.started = true
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
