package engine_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/bench/side"
)

const (
	// idleContainers are run before an engine is idle.
	idleContainers = 10
	// untilIdle is how long nothing happens before it counts as idle.
	untilIdle = 30 * time.Second
)

// idle writes what the daemons hold while nothing happens.
func (s both) idle(b *testing.B, out io.Writer) {
	b.Helper()
	count(b)
	s.each(func(e *engine) {
		for range idleContainers {
			e.command("run", "--rm", "--network", "none", image, "true")
		}
	})
	s.footprints(b, out, "10 containers were run, at once")
	time.Sleep(untilIdle)
	s.footprints(b, out, "10 containers were run, idle")
}

// footprints writes what the daemons hold now, each and all together, in KiB.
func (s both) footprints(b *testing.B, out io.Writer, when string) {
	b.Helper()
	var sums [2]side.Footprint
	fmt.Fprintf(out, "memory in KiB, %s\n", when)
	for i, e := range s {
		daemons := e.daemons()
		for _, name := range slices.Sorted(maps.Keys(daemons)) {
			f := side.FootprintOf(b, daemons[name])
			fmt.Fprintf(out, "    %-8s %-12s private dirty %7.0f  PSS %7.0f  RSS %7.0f  threads %3.0f  files %4.0f\n", e.name, name, f.Private, f.PSS, f.RSS, f.Threads, f.Files)
			sums[i].Private += f.Private
			sums[i].PSS += f.PSS
			sums[i].RSS += f.RSS
		}
	}
	fmt.Fprintf(out, "    ratio    private dirty %.2f  PSS %.2f  RSS %.2f\n", sums[0].Private/sums[1].Private, sums[0].PSS/sums[1].PSS, sums[0].RSS/sums[1].RSS)
}

// How many containers are probed each second, and for how long.
const (
	probed    = 200
	probeTime = 30 * time.Second
)

// health measures many health checks: CPU time of the daemons alone, and of everything with shims and probes, for each
// probe that ended: a peer that can't keep up makes fewer of them.
func (s both) health(b *testing.B, out io.Writer) {
	b.Helper()
	count(b)
	var all, daemons [2]float64
	n := number("GANTRY_BENCH_PROBED", probed)
	for i, e := range s { // one after the other: 400 containers that start programs would be one big queue
		ids := e.sleepers(n, "--health-cmd", "true", "--health-interval", "1s", "--health-timeout", "30s")
		time.Sleep(5 * time.Second)
		before, own := e.usage(), e.ownTime()
		probes := e.probes(probeTime)
		all[i], daemons[i] = milliseconds(e.usage()-before)/probes, milliseconds(e.ownTime()-own)/probes
		fmt.Fprintf(out, "%d health checks, %-8s %5.0f probes in %v; CPU for each: daemons %6.2f ms, with shims and probes %6.2f ms\n",
			n, e.name, probes, probeTime, daemons[i], all[i])
		e.remove(ids)
	}
	fmt.Fprintf(out, "    ratio    daemons %.3f  everything %.3f\n", daemons[0]/daemons[1], all[0]/all[1])
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// probes is how many health checks end in a time.
func (e *engine) probes(d time.Duration) (n float64) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	told := e.api.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("event", "exec_die")})
	for {
		select {
		case <-told.Messages:
			n++
		case <-told.Err: //nolint:errcheck // the time is over
			return n
		}
	}
}

// ownTime is the CPU time of the daemons themselves.
func (e *engine) ownTime() (sum time.Duration) {
	e.t.Helper()
	const tick = time.Second / 100 // USER_HZ
	for _, pid := range e.daemons() {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			e.t.Fatal(err)
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, f := range fields[11:13] { // utime, stime
			n, err := strconv.Atoi(f)
			if err != nil {
				e.t.Fatal(err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum
}
