package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// A keeper of another build takes over in these steps, over the socket that engines use:
//
//	new → old   hand over
//	old         stops everything between two bytes, closes the logs
//	old → new   the listening socket; every process; every client with its connection
//	new         opens the FIFOs and the logs, which the old one holds as well: nothing in them can be lost
//	new → old   ready
//	old → new   yours; it ends
//	new         goes on
//
// Until it has said "yours", the old one can go on itself, and does so when the new one fails.

// handOverTime bounds how long a new keeper may take.
const handOverTime = 20 * time.Second

// estate is what one keeper hands to the next: first the number of processes, with the socket, then each.
type estate struct {
	Processes int
	Sessions  int

	Key     Key
	Streams *Streams    `json:",omitempty"`
	Outputs []outputWas `json:",omitempty"`
	Input   *inputWas   `json:",omitempty"`

	Session *sessionWas `json:",omitempty"`
	// Step is ready or yours.
	Step string `json:",omitempty"`
}

const (
	stepReady = "ready"
	stepYours = "yours"
)

// outputWas is a pump.
type outputWas struct {
	Rest  []byte
	ID    string
	Since time.Time
	Parts int
	Ended bool
}

// inputWas is an input.
type inputWas struct{ Ending, Gone bool }

// sessionWas is a client.
type sessionWas struct {
	ID                                           string
	Want                                         Attach
	KeysAt                                       int
	Unread, Filtered, Held                       []byte
	Attached, NoInput, Finishing, Free, Detached bool
}

// handOver gives everything to a new keeper. When it returns true, this one has nothing any more.
func (k *Keeper) handOver(w *outlive.Wire) bool {
	k.ops.Lock()
	defer k.ops.Unlock()
	k.halt()
	err := k.giveAway(w)
	if err == nil {
		return true
	}
	slog.Error("the keeper stays, since the next one failed", "error", err)
	k.goOn()
	return false
}

// halt stops everything. Who waits is woken until it has stopped: it may have been about to wait again.
func (k *Keeper) halt() {
	k.pausing.Store(true)
	close(k.pause)
	_ = k.listener.SetDeadline(past)
	stopped := make(chan struct{})
	go func() {
		k.running.Wait()
		close(stopped)
	}()
	for {
		for _, p := range k.all() {
			p.kick()
		}
		select {
		case <-stopped:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (k *Keeper) all() []*process {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]*process, 0, len(k.procs))
	for _, p := range k.procs {
		list = append(list, p)
	}
	return list
}

func (p *process) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.pumps {
		u.kick()
	}
	if p.in != nil {
		p.in.kick()
	}
	for _, s := range p.sessions {
		s.mu.Lock()
		_ = s.f.SetDeadline(past)
		s.wake.Broadcast()
		s.mu.Unlock()
	}
}

// goOn starts again after a hand-over that failed.
func (k *Keeper) goOn() {
	k.pausing.Store(false)
	k.pause = make(chan struct{})
	for _, p := range k.all() {
		p.mu.Lock()
		if p.streams != nil {
			log, err := openSink(p.streams.Log)
			if err != nil {
				slog.Error("the log cannot be opened again", "process", p.key.String(), "error", err)
			}
			p.log = log
		}
		p.start()
		for _, s := range p.sessions {
			s.goOn()
		}
		p.mu.Unlock()
	}
	_ = k.listener.SetDeadline(time.Time{})
	select { // It may not have heard of the hand-over at all.
	case k.resumed <- struct{}{}:
	default:
	}
}

// goOn lets a session run, and write what is held.
func (s *session) goOn() {
	s.mu.Lock()
	_ = s.f.SetDeadline(time.Time{})
	s.flushLater()
	if s.finishing && !s.flushing {
		s.hangUp()
	}
	s.mu.Unlock()
	s.start()
}

// giveAway sends everything and waits until the other side has it.
func (k *Keeper) giveAway(w *outlive.Wire) error {
	w.SetDeadline(time.Now().Add(handOverTime))
	procs := k.all()
	err := w.SendListener(estate{Processes: len(procs)}, k.listener)
	for _, p := range procs {
		if err == nil {
			err = p.giveAway(w)
		}
	}
	if err != nil {
		return err
	}
	var answer estate
	if _, err := w.Receive(&answer); err != nil {
		return err
	}
	if answer.Step != stepReady {
		return fmt.Errorf("the next keeper said %q", answer.Step)
	}
	_ = w.Send(estate{Step: stepYours})
	return nil
}

// giveAway closes the log, whose last line is written then, and sends the process and its clients.
func (p *process) giveAway(w *outlive.Wire) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.log.close(); err != nil {
		return err
	}
	var living []*session
	for _, s := range p.sessions {
		if !s.dead && !s.isEnded() {
			living = append(living, s)
		}
	}
	e := estate{Key: p.key, Streams: p.streams, Sessions: len(living)}
	for _, u := range p.pumps {
		o := outputWas{Rest: u.lines.rest, ID: u.lines.id, Since: u.lines.since, Parts: u.lines.parts}
		select {
		case <-u.ended:
			o.Ended = true
		default:
		}
		e.Outputs = append(e.Outputs, o)
	}
	if p.in != nil {
		e.Input = &inputWas{Ending: p.in.isEnding(), Gone: p.in.closed()}
	}
	if err := w.Send(e); err != nil {
		return err
	}
	for _, s := range living {
		was := sessionWas{
			ID: s.id, Want: s.want, KeysAt: s.keys.at, Unread: s.unread, Filtered: s.filtered, Held: s.held,
			Attached: s.of != nil, NoInput: s.noInput, Finishing: s.finishing, Free: s.free, Detached: s.detached,
		}
		if err := w.SendFile(estate{Session: &was}, s.f); err != nil {
			return err
		}
	}
	return nil
}

// takeOver becomes the keeper in the place of the one that serves the folder.
func (k *Keeper) takeOver() (*net.UnixListener, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: Socket(k.dir), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * handOverTime))
	w := outlive.NewWire(conn)
	if err := w.Send(Request{Op: opHandOver}); err != nil {
		return nil, err
	}
	l, err := k.takeAll(w)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	if err := w.Send(estate{Step: stepReady}); err != nil {
		return nil, err
	}
	// Whether it says so or dies: the old one does nothing any more.
	var yours estate
	_, _ = w.Receive(&yours)
	for _, p := range k.all() {
		p.mu.Lock()
		p.start()
		for _, s := range p.sessions {
			s.goOn()
		}
		p.mu.Unlock()
		k.forgetIdle(p)
	}
	return l, nil
}

func (k *Keeper) takeAll(w *outlive.Wire) (*net.UnixListener, error) {
	var first estate
	l, err := w.ReceiveListener(&first)
	if err != nil {
		return nil, err
	}
	for range first.Processes {
		var e estate
		fds, err := w.Receive(&e)
		outlive.CloseAll(fds)
		if err == nil {
			err = k.take(w, e)
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// take rebuilds a process and its clients, without letting anything run.
func (k *Keeper) take(w *outlive.Wire, e estate) error {
	if err := e.Key.valid(); err != nil {
		return err
	}
	p := k.process(e.Key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Streams != nil {
		if err := p.take(e); err != nil {
			return err
		}
	}
	for range e.Sessions {
		var se estate
		fd, err := w.ReceiveFile(&se)
		if err != nil {
			return err
		}
		was := se.Session
		if was == nil {
			unix.Close(fd)
			return errors.New("a session is missing")
		}
		s, err := newSession(was.ID, was.Want, fd)
		if err != nil {
			return err
		}
		s.p, s.keys.at, s.unread, s.filtered, s.held = p, was.KeysAt, was.Unread, was.Filtered, was.Held
		s.noInput, s.finishing, s.free, s.detached = was.NoInput, was.Finishing, was.Free, was.Detached
		if was.Attached {
			s.of, s.in = p.streams, p.in
		}
		p.sessions = append(p.sessions, s)
	}
	return nil
}

func (p *process) take(e estate) error {
	log, err := openSink(e.Streams.Log)
	if err != nil {
		return err
	}
	p.setPaths(*e.Streams)
	if err := p.openFIFOs(); err != nil {
		return errors.Join(err, log.close())
	}
	if len(p.pumps) != len(e.Outputs) {
		return errors.New("outputs are missing")
	}
	for i, o := range e.Outputs {
		u := p.pumps[i]
		u.lines.rest, u.lines.id, u.lines.since, u.lines.parts = o.Rest, o.ID, o.Since, o.Parts
		if o.Ended {
			close(u.ended)
		}
	}
	if p.in != nil && e.Input != nil {
		p.in.ending, p.in.gone = e.Input.Ending, e.Input.Gone
	}
	p.streams, p.log = e.Streams, log
	return nil
}
