package cgroup

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Exchange is Write for a container that runs: it also returns the write that takes the
// change back, nil where there is none (a file that only acts, as memory.reclaim).
func (s *Set) Exchange(w *plan.WriteCgroup) (undo *plan.WriteCgroup, err error) {
	g := s.named(w.Hierarchy)
	if g == nil {
		return nil, s.Write(w)
	}
	controller, _, _ := strings.Cut(w.File, ".")
	if g.hierarchy == "" && controller != "cgroup" && !g.has(controller) {
		_ = enable(g.dir, controller) // Write says what is missing
	}
	undo = g.inverse(w)
	if err := s.Write(w); err != nil {
		return nil, g.explain(w, err)
	}
	return undo, nil
}

// inverse is the write that restores what the write w is about to change.
func (g *group) inverse(w *plan.WriteCgroup) *plan.WriteCgroup {
	file, value := w.File, w.Value
	content, err := readFile(g.dir, file)
	if errors.Is(err, unix.ENOENT) {
		if file, value = alternative(w); file != "" {
			content, err = readFile(g.dir, file)
		}
	}
	if file == "" || err != nil {
		return nil
	}
	return &plan.WriteCgroup{Hierarchy: w.Hierarchy, File: file, Value: restoring(file, value, content), MayMiss: true}
}

// restoring is the value that, written to a file, brings back the content that it has now,
// as far as writing value will change it.
func restoring(file, value, content string) string {
	if file == "memory.oom_control" {
		off, _ := wordAfter(content, "oom_kill_disable")
		return off
	}
	key, _, keyed := strings.Cut(strings.TrimSpace(value), " ")
	if !keyed || file == "cpu.max" {
		// A flat file, or the line for all devices in one that has more.
		first, _, _ := strings.Cut(content, "\n")
		return first
	}
	if rest, ok := wordAfter(content, key); ok {
		return key + " " + rest
	}
	return key + " " + unset(file)
}

// unset is what takes a key out of a file that does not list it by itself.
func unset(file string) string {
	switch {
	case file == "io.max":
		return "rbps=max wbps=max riops=max wiops=max"
	case file == "io.latency":
		return "target=max"
	case strings.HasPrefix(file, "blkio.throttle."):
		return "0"
	}
	return "default"
}

// explain adds to the refusal of a memory limit what there is of it: the kernel says only
// that it is busy.
func (g *group) explain(w *plan.WriteCgroup, err error) error {
	if w.File != "memory.limit_in_bytes" || !errors.Is(err, unix.EBUSY) {
		return err
	}
	usage, _ := readFile(g.dir, "memory.usage_in_bytes")
	peak, _ := readFile(g.dir, "memory.max_usage_in_bytes")
	return fmt.Errorf("unable to set memory limit to %s (current usage: %s, peak usage: %s): %w", w.Value, usage, peak, unix.EBUSY)
}
