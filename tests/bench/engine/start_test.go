package engine_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/harness"
)

// restart starts a daemon that has ended, and waits until it answers as it should.
func (e *engine) restart(answers func(ctx context.Context) error) side.Cost {
	e.t.Helper()
	begin := time.Now()
	if err := e.Dockerd.Launch(); err != nil {
		e.t.Fatal(err)
	}
	var last error
	for end := begin.Add(harness.Limit(time.Minute)); ; time.Sleep(time.Millisecond) {
		ctx, cancel := context.WithDeadline(context.Background(), end)
		last = answers(ctx)
		cancel()
		if last == nil {
			break
		}
		if time.Now().After(end) {
			e.t.Fatalf("%s: %v", e.name, last)
		}
	}
	c := side.Cost{Wall: time.Since(begin)}
	e.count()
	return c
}

// ping asks without the client's own trials.
func (e *engine) ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x/_ping", nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.api.Dialer()(ctx) }, DisableKeepAlives: true}
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ping: %s", res.Status)
	}
	return nil
}

// starts measures how soon an engine without containers answers: ours with the manager that it starts, dockerd with a
// containerd that is there already.
func (s both) starts(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	side.Pairs(out, "start to /_ping, "+place, pairs, s.turns(func(e *engine) side.Cost {
		e.Dockerd.Stop()
		return e.restart(e.ping)
	}))
}

// restarts measures how soon an engine that was killed over living containers tells that they run.
func (s both) restarts(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	n := number("GANTRY_BENCH_LIVE", 20)
	var ids [2][]string
	for i := range s {
		ids[i] = s[i].sleepers(n)
		defer s[i].remove(ids[i])
	}
	side.Pairs(out, fmt.Sprintf("%d live: kill -9, ps, %s", n, place), pairs, s.turns(func(e *engine) side.Cost {
		e.Dockerd.Kill()
		return e.restart(func(ctx context.Context) error {
			if err := e.ping(ctx); err != nil {
				return err
			}
			list, err := e.api.ContainerList(ctx, client.ContainerListOptions{})
			if err == nil && len(list.Items) != n {
				err = fmt.Errorf("%d of %d run", len(list.Items), n)
			}
			return err
		})
	}))
}
