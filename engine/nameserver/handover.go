package nameserver

import (
	"encoding/binary"
	"errors"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// What is handed over: how many sandboxes, then each, followed by its clients over TCP. Questions that are with others
// are asked again.
type (
	wholeWas   struct{ Sandboxes int }
	sandboxWas struct {
		Sandbox
		Questions []questionWas
		Clients   int
	}
	questionWas struct {
		Raw  []byte
		Addr [4]byte
		Port int
	}
	clientWas struct {
		In, Out []byte
		Ended   bool
	}
)

// Give sends everything. The caller holds the loop's lock, and if it gives it back, everything goes on here.
func (s *Server) Give(w *outlive.Wire) error {
	if err := w.Send(wholeWas{Sandboxes: len(s.sandboxes)}); err != nil {
		return err
	}
	for _, sb := range s.sandboxes {
		if err := sb.give(w); err != nil {
			return err
		}
	}
	return nil
}

func (sb *sandbox) give(w *outlive.Wire) error {
	was := sandboxWas{Sandbox: sb.Sandbox, Clients: len(sb.clients)}
	busy := map[*client][]byte{}
	for q := range sb.questions {
		if q.from.client != nil {
			busy[q.from.client] = q.raw
			continue
		}
		was.Questions = append(was.Questions, questionWas{q.raw, q.from.Addr, q.from.Port})
	}
	var fds []int
	if sb.sockets != nil {
		fds = []int{sb.namespace, sb.udp, sb.tcp}
	}
	if err := w.Send(was, fds...); err != nil {
		return err
	}
	for c := range sb.clients {
		in := c.in
		if raw, ok := busy[c]; ok {
			in = append(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...), in...)
		}
		if err := w.Send(clientWas{In: in, Out: c.out, Ended: c.ended}, c.fd); err != nil {
			return err
		}
	}
	return nil
}

// Take receives everything.
func (s *Server) Take(w *outlive.Wire) error {
	s.loop.Lock()
	defer s.loop.Unlock()
	var whole wholeWas
	fds, err := w.Receive(&whole)
	if err != nil {
		return err
	}
	outlive.CloseAll(fds)
	for range whole.Sandboxes {
		if err := s.take(w); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) take(w *outlive.Wire) error {
	var was sandboxWas
	fds, err := w.Receive(&was)
	if err != nil {
		return err
	}
	sb := &sandbox{s: s, Sandbox: was.Sandbox, questions: map[*question]struct{}{}, clients: map[*client]struct{}{}}
	switch len(fds) {
	case 0:
	case 3:
		sb.sockets = &sockets{fds[0], fds[1], fds[2]}
	default:
		outlive.CloseAll(fds)
		return errors.New("descriptors of a sandbox are missing")
	}
	if err := sb.begin(); err != nil {
		return err
	}
	sb.waiting = was.Questions
	for range was.Clients {
		var was clientWas
		fd, err := w.ReceiveFile(&was)
		if err != nil {
			return err
		}
		sb.welcome(&client{sb: sb, stream: stream{fd: fd, in: was.In, out: was.Out}, ended: was.Ended})
	}
	return nil
}

// Start asks again what was asked when this process took over.
func (s *Server) Start() {
	s.loop.Lock()
	defer s.loop.Unlock()
	for _, sb := range s.sandboxes {
		for _, q := range sb.waiting {
			sb.ask(q.Raw, asker{Addr: q.Addr, Port: q.Port})
		}
		sb.waiting = nil
	}
}
