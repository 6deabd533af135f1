package engine_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/harness"
)

// How many listen, and to how much.
const (
	listeners  = 1000
	someEvents = 100
)

// events measures 100 events that 1,000 clients listen to, from the first one's cause until all have all, and what the daemon
// holds afterwards. An event is that of a tag.
func (s both) events(b *testing.B, out io.Writer, pairs int) {
	b.Helper()
	stop := [2]func(){}
	heard := map[*engine]*audience{}
	for i, e := range s {
		heard[e], stop[i] = e.listen(b)
	}
	n := 0
	side.Pairs(out, "100 events to 1,000 listeners", pairs, s.turns(func(e *engine) side.Cost {
		n++
		return e.measure(func() error { return heard[e].tell(e, n) })
	}))
	s.footprints(b, out, "with 1,000 listeners")
	for round := range 3 {
		for _, f := range stop {
			f()
		}
		for i, e := range s {
			heard[e], stop[i] = e.listen(b)
			if err := heard[e].tell(e, -round); err != nil {
				b.Fatal(err)
			}
		}
		s.footprints(b, out, fmt.Sprintf("1,000 others, round %d", round+2))
	}
	for _, f := range stop {
		f()
	}
}

// audience counts what its members hear: tags, and not that they are taken away again.
type audience struct{ heard atomic.Int64 }

// listen opens connections and returns what ends them.
func (e *engine) listen(b *testing.B) (*audience, func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &audience{}
	var all sync.WaitGroup
	for range listeners {
		told := e.api.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("event", "tag")})
		all.Go(func() {
			for {
				select {
				case <-told.Messages:
					a.heard.Add(1)
				case <-told.Err: //nolint:errcheck // it is how listening ends
					return
				}
			}
		})
	}
	if !harness.Until(30*time.Second, func() bool {
		r, err := e.api.Info(ctx, client.InfoOptions{})
		return err == nil && r.Info.NEventsListener >= listeners
	}) {
		b.Fatalf("%s: not all listen", e.name)
	}
	return a, func() { cancel(); all.Wait() }
}

// tell makes events and waits until everybody has heard them.
func (a *audience) tell(e *engine, round int) error {
	// dockerd 20.10 gives up on listeners that are slow: it counts as done when nearly all are there.
	want := a.heard.Load() + listeners*someEvents*99/100
	for i := range someEvents {
		_, err := e.api.ImageTag(context.Background(), client.ImageTagOptions{Source: image, Target: fmt.Sprintf("tag/%d:%d", i, round+1000)})
		if err != nil {
			return err
		}
	}
	defer func() {
		for i := range someEvents {
			_, _ = e.api.ImageRemove(context.Background(), fmt.Sprintf("tag/%d:%d", i, round+1000), client.ImageRemoveOptions{})
		}
	}()
	if !harness.Until(time.Minute, func() bool { return a.heard.Load() >= want }) {
		return fmt.Errorf("%s: %d of %d events were heard", e.name, a.heard.Load(), want)
	}
	return nil
}
