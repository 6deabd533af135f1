package events

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/gantry-containers/gantry/shim/api/forward"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// The call (containerd, api/services/ttrpc/events/v1).
const (
	service = "containerd.services.events.ttrpc.v1.Events"
	method  = "Forward"
)

// sender is the connection to the daemon, and what is known of the daemon.
type sender struct {
	publisher *Publisher
	client    *ttrpc.Client // nil while there is no connection
	socket    socket        // of the daemon that was last spoken to

	// The publisher's lock guards these two: they are the watching goroutine's as well.
	away     *absence // of the daemon, since events were last sent; nil if there was none
	watching bool
}

func (s *sender) init(p *Publisher) {
	// The daemon that started this shim is the first one.
	*s = sender{publisher: p}
	s.socket, _ = statSocket(p.address)
}

// send delivers all there is, waits a little for more, and ends.
func (s *sender) send() {
	p := s.publisher
	for {
		l, r, err := p.head()
		switch {
		case l == nil:
			if !s.waitForMore() {
				return
			}
		case err != nil:
			n := p.unreadable(l)
			slog.Error("events are lost: their file cannot be read", "events", n, "error", err)
		default:
			s.deliver(l, r)
			p.delivered(l, r)
		}
	}
}

// waitForMore ends the connection when no event comes for some time. It says whether one came.
func (s *sender) waitForMore() bool {
	p := s.publisher
	idle := time.NewTimer(p.times.idle)
	defer idle.Stop()
	select {
	case <-p.wake:
		return true
	case <-idle.C:
	}
	s.hangUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending = p.left > 0
	return p.sending
}

func (s *sender) hangUp() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

// deliver tries for ever.
func (s *sender) deliver(l *Log, r record) {
	envelope := &types.Envelope{}
	if err := envelope.UnmarshalVT(r.body); err != nil {
		slog.Error("an event is lost: it cannot be decoded", "event", r.number, "error", err)
		return
	}
	if l.keep != nil && !l.keep(envelope) {
		return
	}
	t := s.publisher.times
	failing := false
	for pause := t.retry; ; pause = min(2*pause, t.retryMax) {
		err := s.try(envelope)
		switch {
		case err == nil:
			if failing {
				slog.Info("events are delivered again", "topic", envelope.Topic)
			}
			return
		case ttrpc.CodeOf(err) == ttrpc.InvalidArgument:
			slog.Error("an event is refused by the daemon", "topic", envelope.Topic, "error", err)
			return
		case !failing:
			slog.Warn("an event is not delivered yet", "topic", envelope.Topic, "error", err)
			failing = true
		}
		select {
		case <-time.After(pause):
		case <-s.publisher.told: // the daemon is coming
			pause = t.retry
		}
	}
}

// try makes one attempt. The event is only sent again where it is sure that the daemon does not take it, or where the
// connection is over before that is known.
func (s *sender) try(envelope *types.Envelope) error {
	p := s.publisher
	if err := s.connect(); err != nil {
		s.noteAbsence()
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.times.answer)
	defer cancel()
	err := s.client.Call(ctx, service, method, &forward.ForwardRequest{Envelope: envelope}, &known.Empty{})
	if err != nil && (s.over() || ctx.Err() != nil) {
		s.hangUp()
		s.noteAbsence()
	}
	return err
}

func (s *sender) over() bool {
	select {
	case <-s.client.Done():
		return true
	default:
		return false
	}
}

// connect connects to a daemon that may be sent events.
func (s *sender) connect() error {
	if s.client != nil {
		return nil
	}
	found, err := statSocket(s.publisher.address)
	if err != nil {
		return err
	}
	client, err := ttrpc.Dial(context.Background(), s.publisher.address)
	if err != nil {
		return err
	}
	s.client = client
	if err := s.settle(found); err != nil {
		s.hangUp()
		return err
	}
	s.watch()
	return nil
}

// noteAbsence notes that the daemon is away, from the first sign of it on.
func (s *sender) noteAbsence() {
	_, err := os.Lstat(s.publisher.address)
	s.publisher.mu.Lock()
	defer s.publisher.mu.Unlock()
	if s.away == nil {
		s.away = &absence{since: time.Now(), refused: err == nil}
	}
}

var errWentAgain = errors.New("the daemon went away again")

// settle waits, where the daemon is another one than before, until that one's clients are back. The daemon tells an
// event to those that are subscribed at the moment, and to nobody later: too early, and dockerd shows a container that
// has ended as running for ever.
func (s *sender) settle(found socket) error {
	p := s.publisher
	p.mu.Lock()
	away := s.away
	p.mu.Unlock()
	if found != s.socket {
		if away == nil {
			away = &absence{since: found.made, refused: true} // nobody saw it
		}
		pause := p.times.pause(*away, found.made) + p.times.settle
		// The clock may have been set: so the pause bounds what is left of it.
		if err := s.consider(min(time.Until(found.made.Add(pause)), pause)); err != nil {
			return err
		}
	}
	s.socket = found
	p.mu.Lock()
	defer p.mu.Unlock()
	s.away = nil
	return nil
}

// consider waits for the daemon's clients, unless the daemon remembers events for them.
func (s *sender) consider(pause time.Duration) error {
	p := s.publisher
	over := time.NewTimer(pause)
	defer over.Stop()
	for !p.daemonReplays() {
		select {
		case <-s.client.Done():
			return errWentAgain
		case <-p.hurry:
			return nil
		case <-over.C:
			return nil
		case <-p.told:
		}
	}
	return nil
}

// watch lets a goroutine wait for the daemon's end: how long its clients take to come back depends on how long it was
// away, which the next event, much later, could not tell. Where that cannot be watched, a moment is what is waited.
func (s *sender) watch() {
	p := s.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.watching {
		return
	}
	pid, err := s.client.PeerPID()
	if err != nil {
		slog.Debug("the daemon's end is not watched", "error", err)
		return
	}
	daemon, err := openProcess(pid)
	if err != nil {
		slog.Debug("the daemon's end is not watched", "error", err)
		return
	}
	s.watching = true
	go s.watchProcess(daemon, s.socket)
}

func (s *sender) watchProcess(daemon *os.File, made socket) {
	err := processEnd(daemon)
	daemon.Close()
	if found, statErr := statSocket(s.publisher.address); err == nil && (statErr != nil || found == made) {
		s.noteAbsence() // and else the next one is there already
	}
	s.publisher.mu.Lock()
	defer s.publisher.mu.Unlock()
	s.watching = false
}
