package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When the daemon has been idle for a while, it gives the kernel back what the work has used. Go does so by itself, but only
// minutes later, and never all of it.
const (
	trimEvery = 10 * time.Second // how often is looked
	trimIdle  = 256 << 10        // bytes that are allocated in that time by a daemon that is idle
	trimWorth = 1 << 20          // bytes allocated since the last time, below which there is nothing to give back
)

// collectAt is the garbage collector's target. Little is live, so that the usual one would collect every second container:
// what is not collected goes when there is nothing to do.
const collectAt = 400

// trim runs until ctx ends.
func trim(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for t := (trimmer{}); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if t.due(allocated()) {
			debug.FreeOSMemory()
			t.done(allocated())
		}
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// trimmer decides when memory is given back, by bytes that were allocated since the start.
type trimmer struct{ last, trimmed uint64 }

// due is asked once in each period.
func (t *trimmer) due(allocated uint64) bool {
	idle := t.last != 0 && allocated-t.last < trimIdle
	t.last = allocated
	return idle && allocated-t.trimmed >= trimWorth
}

func (t *trimmer) done(allocated uint64) { t.last, t.trimmed = allocated, allocated }
