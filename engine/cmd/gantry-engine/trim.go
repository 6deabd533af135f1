package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When the engine has been idle for a while, it gives the kernel back what the work has used. Go does so by itself, but only
// minutes later, and never all of it.
const (
	trimEvery = 10 * time.Second // how often is looked
	trimIdle  = 512 << 10        // bytes that are allocated in that time by an engine that is idle
	trimWorth = 1 << 20          // bytes allocated since the last time, below which there is nothing to give back
)

// trim runs until ctx ends.
func trim(ctx context.Context) {
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
			t.trimmed = allocated()
		}
	}
}

// allocated is how many bytes the program has allocated since it started.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// trimmer decides when memory is given back, by what had been allocated when it was last asked and when memory was last given back.
type trimmer struct{ last, trimmed uint64 }

// due is asked once in each period.
func (t *trimmer) due(allocated uint64) bool {
	idle := t.last != 0 && allocated-t.last < trimIdle
	t.last = allocated
	return idle && allocated-t.trimmed >= trimWorth
}
