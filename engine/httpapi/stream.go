package httpapi

import (
	"net/http"
	"sync"
)

// Stream is an answer that is written in pieces: every Write reaches the client at once. It may be used by several
// goroutines.
type Stream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	flusher http.Flusher
	written bool
}

// NewStream makes a stream of an answer. Nothing is sent before the first Write or Start.
func NewStream(w http.ResponseWriter) *Stream {
	f, _ := w.(http.Flusher)
	return &Stream{w: w, flusher: f}
}

// Start sends the header.
func (s *Stream) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.written {
		s.written = true
		s.w.WriteHeader(http.StatusOK)
	}
	s.flush()
}

// Write implements io.Writer.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = true
	n, err := s.w.Write(p)
	s.flush()
	return n, err
}

// Started says that the status can no longer be chosen: an error belongs into the stream.
func (s *Stream) Started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

func (s *Stream) flush() {
	if s.flusher != nil {
		s.flusher.Flush()
	}
}
