package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// process is the streams of one process: before it is opened, only clients who wait for it.
type process struct {
	k   *Keeper
	key Key

	// over says that the process has ended: a stream without a writer is at its end then.
	over atomic.Bool
	// log is set by open, before any pump runs.
	log *sink

	// life is held by what begins and what ends the streams.
	life sync.Mutex

	mu       sync.Mutex
	streams  *Streams // nil until it is opened
	paths    Paths
	pumps    []*pump
	in       *input
	sessions []*session
	// forgotten says that the keeper has taken another one in its place.
	forgotten bool
}

var errForgotten = errors.New("forgotten")

// open makes the FIFOs and begins to read. Streams that are open go on.
func (p *process) open(s Streams) (Paths, error) {
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forgotten {
		return Paths{}, errForgotten
	}
	if p.streams != nil {
		return p.paths, nil
	}
	log, err := openSink(s.Log)
	if err != nil {
		return Paths{}, err
	}
	p.setPaths(s)
	if err := p.openFIFOs(); err != nil {
		p.removeFIFOs()
		return Paths{}, errors.Join(err, log.close())
	}
	p.streams, p.log = &s, log
	p.start()
	for _, waiting := range p.sessions {
		waiting.opened(p.streams, p.in)
	}
	return p.paths, nil
}

func (p *process) setPaths(s Streams) {
	base := filepath.Join(p.k.dir, p.key.String())
	p.paths = Paths{Stdout: base + ".out"}
	if s.Stdin {
		p.paths.Stdin = base + ".in"
	}
	if !s.Terminal {
		p.paths.Stderr = base + ".err"
	}
}

func (p *process) openFIFOs() (err error) {
	p.pumps = nil
	defer func() {
		if err != nil {
			for _, u := range p.pumps {
				u.f.Close()
			}
			p.pumps = nil
		}
	}()
	for i, path := range []string{p.paths.Stdout, p.paths.Stderr} {
		if path == "" {
			continue
		}
		u, err := openPump(p, path, byte(i+1))
		if err != nil {
			return err
		}
		p.pumps = append(p.pumps, u)
	}
	if p.paths.Stdin != "" {
		if err := makeFIFO(p.paths.Stdin); err != nil {
			return err
		}
		p.in = newInput(p, p.paths.Stdin)
	}
	return nil
}

// start lets everything run. The caller holds mu.
func (p *process) start() {
	for _, u := range p.pumps {
		select {
		case <-u.ended:
		default:
			_ = u.f.SetReadDeadline(time.Time{})
			p.k.running.Go(u.run)
		}
	}
	if p.in != nil {
		p.in.resume()
	}
}

func (p *process) removeFIFOs() {
	for _, path := range []string{p.paths.Stdin, p.paths.Stdout, p.paths.Stderr} {
		if path != "" {
			os.Remove(path)
		}
	}
}

// attach adds a client, who waits when the process is not opened yet. It says no when the process is forgotten.
func (p *process) attach(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forgotten {
		return false
	}
	for _, other := range p.sessions {
		if other.id == s.id {
			s.f.Close() // Asked again by an engine that did not hear the answer.
			return true
		}
	}
	s.p = p
	p.sessions = append(p.sessions, s)
	if p.streams != nil && !p.over.Load() {
		s.opened(p.streams, p.in)
	}
	s.begin()
	return true
}

// detach forgets a client.
func (p *process) detach(s *session) {
	defer p.k.forgetIdle(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.sessions {
		if other == s {
			p.sessions = append(p.sessions[:i:i], p.sessions[i+1:]...)
			break
		}
	}
}

// deliver gives output to the log and to who is attached, in this order: the log is not to wait for a client.
func (p *process) deliver(u *pump, data []byte) {
	p.log.write(u.entries(data))
	p.mu.Lock()
	sessions := p.sessions
	p.mu.Unlock()
	for _, s := range sessions {
		s.output(u.frame, data)
	}
}

// drain waits for the end of output, at most for limit, then ends the clients' sessions and closes the log. After it
// the process may be opened again.
func (p *process) drain(limit time.Duration) error {
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	if p.streams == nil {
		p.mu.Unlock()
		return nil
	}
	p.over.Store(true)
	pumps, in, log, streams := p.pumps, p.in, p.log, p.streams
	p.mu.Unlock()

	waitEnded(pumps, limit)
	// What is still open is held by a child that outlives the process: nobody listens to it any more.
	ending := p.sessionsOf(streams)
	for _, s := range ending {
		s.hurry()
	}
	for _, u := range pumps {
		u.f.Close()
		<-u.ended
	}
	if in != nil {
		in.abort()
	}
	err := log.close()
	for _, s := range ending {
		s.finish(false)
	}
	for _, s := range ending {
		s.wait(limit)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeFIFOs()
	p.streams, p.pumps, p.in, p.log, p.paths = nil, nil, nil, nil, Paths{}
	p.over.Store(false)
	return err
}

// waitEnded waits until pumps are at the end, at most for limit.
func waitEnded(pumps []*pump, limit time.Duration) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for _, u := range pumps {
		u.kick()
	}
	for _, u := range pumps {
		select {
		case <-u.ended:
		case <-deadline.C:
			return
		}
	}
}

// sessionsOf are the clients who are attached to a run of the process, not those who wait for the next.
func (p *process) sessionsOf(streams *Streams) (of []*session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sessions {
		if s.of == streams {
			of = append(of, s)
		}
	}
	return of
}

// close ends everything, also the sessions of those who wait.
func (p *process) close() error {
	err := p.drain(0)
	p.mu.Lock()
	sessions := p.sessions
	p.mu.Unlock()
	for _, s := range sessions {
		s.finish(false)
	}
	p.k.forgetIdle(p)
	return err
}

// idle says that nothing would be lost if the process were forgotten.
func (p *process) idle() bool { return p.streams == nil && len(p.sessions) == 0 }

// busy says that the keeper is needed: there are clients, or output may come.
func (p *process) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sessions) > 0 {
		return true
	}
	for _, u := range p.pumps {
		select {
		case <-u.ended:
		default:
			return true
		}
	}
	return false
}
