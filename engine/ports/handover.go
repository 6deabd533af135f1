package ports

import (
	"errors"
	"time"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// What is handed over: first how much, then every port, followed by its connections and clients.
type (
	wholeWas struct {
		Ports int
		Last  map[string]uint16
	}
	portWas struct {
		Held
		Call          string
		Index         int
		Relays, Peers int
	}
	relayWas struct {
		Connecting bool
		In, Out    wayWas
	}
	// wayWas is one direction; what it holds is in a pipe, which comes with it.
	wayWas struct {
		Held        int
		Ended, Told bool
	}
	peerWas struct {
		Asked asked
		Used  time.Time
	}
)

// Give sends everything. The caller holds the loop's lock, and if it gives it back, everything goes on here.
func (p *Ports) Give(w *outlive.Wire) error {
	if err := w.Send(wholeWas{Ports: len(p.held), Last: p.last}); err != nil {
		return err
	}
	for _, b := range p.held {
		if err := b.give(w); err != nil {
			return err
		}
	}
	return nil
}

func (b *binding) give(w *outlive.Wire) error {
	was := portWas{Held: b.Held, Call: b.call, Index: b.index, Relays: len(b.relays), Peers: b.peers.order.Len()}
	if err := w.Send(was, b.fd); err != nil {
		return err
	}
	for r := range b.relays {
		fds := []int{r.client, r.container}
		for _, way := range []*way{&r.in, &r.out} {
			if way.pipe != nil {
				fds = append(fds, way.pipe.out)
			}
		}
		if err := w.Send(relayWas{Connecting: r.connecting != nil, In: r.in.was(), Out: r.out.was()}, fds...); err != nil {
			return err
		}
	}
	for e := b.peers.order.Front(); e != nil; e = e.Next() {
		p := e.Value.(*peer)
		if err := w.Send(peerWas{Asked: p.asked, Used: p.used}, p.fd); err != nil {
			return err
		}
	}
	return nil
}

func (w *way) was() wayWas { return wayWas{Held: w.held, Ended: w.ended, Told: w.told} }

// Take receives everything. Nothing happens with it before the loop runs.
func (p *Ports) Take(w *outlive.Wire) error {
	p.loop.Lock()
	defer p.loop.Unlock()
	var whole wholeWas
	fds, err := w.Receive(&whole)
	if err != nil {
		return err
	}
	outlive.CloseAll(fds)
	if whole.Last != nil {
		p.last = whole.Last
	}
	for range whole.Ports {
		if err := p.take(w); err != nil {
			return err
		}
	}
	return nil
}

func (p *Ports) take(w *outlive.Wire) error {
	var was portWas
	fd, err := w.ReceiveFile(&was)
	if err != nil {
		return err
	}
	b := &binding{p: p, Held: was.Held, call: was.Call, index: was.Index}
	if err := b.adopt(fd); err != nil {
		return err
	}
	p.held[b.place()] = b
	for range was.Relays {
		if err := b.takeRelay(w); err != nil {
			return err
		}
	}
	for range was.Peers {
		var was peerWas
		fd, err := w.ReceiveFile(&was)
		if err != nil {
			return err
		}
		if peer := b.remember(&peer{b: b, asked: was.Asked, fd: fd}); peer != nil {
			peer.used = was.Used
		}
	}
	return nil
}

func (b *binding) takeRelay(w *outlive.Wire) error {
	var was relayWas
	fds, err := w.Receive(&was)
	if err != nil {
		return err
	}
	ways := [2]way{}
	rest := fds
	if len(rest) >= 2 {
		rest = rest[2:]
	}
	for i, old := range []wayWas{was.In, was.Out} {
		ways[i] = way{held: old.Held, ended: old.Ended, told: old.Told}
		if old.Held == 0 {
			continue
		}
		if len(rest) == 0 {
			break
		}
		ways[i].pipe, rest = &pipe{out: rest[0], in: -1}, rest[1:]
	}
	if len(fds) < 2 || b.relays == nil || len(rest) > 0 || ways[0].lost() || ways[1].lost() {
		outlive.CloseAll(fds)
		return errors.New("descriptors of a connection are missing")
	}
	r := &relay{b: b, client: fds[0], container: fds[1], in: ways[0], out: ways[1]}
	if was.Connecting {
		r.connecting = b.p.loop.After(b.p.dial, r.give)
	}
	r.start()
	return nil
}

func (w *way) lost() bool { return w.held != 0 && w.pipe == nil }
