package apidiff

import (
	"strings"
	"sync"
	"testing"
)

// phase is a part of the requests that can be sent at the same time.
type phase int

const (
	reads   phase = iota // while nothing changes
	changes              // of containers, in all lanes; those of images have one lane for themselves
	ends                 // take away what others need
)

func (o *Operation) phase() phase {
	switch {
	case strings.HasSuffix(o.Path, "/prune"):
		return ends
	case o.Method == "GET", o.Method == "HEAD":
		return reads
	}
	return changes
}

type try struct {
	request  *Request
	versions []string
}

// run sends the requests of a phase. Those of the first lane are about things that all lanes have in common.
func (d *differ) run(t *testing.T, p phase, operations []*Operation) {
	t.Helper()
	common, own := queues(p, operations)
	if p != ends && len(common)+len(own) == 0 {
		return
	}
	use := d.lanes[:1]
	if p == changes {
		use = d.lanes
	}
	for _, l := range use {
		if err := l.both((*Lane).Furnish); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	for i, l := range use {
		wait.Go(func() {
			if i > 0 || d.all(t, l, common) {
				d.all(t, l, own)
			}
		})
	}
	wait.Wait()
}

// queues are the requests of a phase: those about what lanes have in common, and those about a lane's own containers.
func queues(p phase, operations []*Operation) (common, own chan try) {
	common, own = make(chan try, 1<<16), make(chan try, 1<<16)
	for _, o := range operations {
		if o.phase() != p {
			continue
		}
		queue := common
		if p == changes && (strings.HasPrefix(o.Path, "/containers/") || o.Tags[0] == "Exec") {
			queue = own
		}
		for _, r := range o.Requests() {
			queue <- try{r, r.versions()}
		}
	}
	close(common)
	close(own)
	return common, own
}

// all tries what is left in a queue, and says whether it came to the end.
func (d *differ) all(t *testing.T, l *pair, queue chan try) bool {
	t.Helper()
	for one := range queue {
		for _, version := range one.versions {
			if err := l.try(d.report, one.request, version); err != nil {
				t.Errorf("v%s %s: %v", version, one.request, err)
				return false
			}
		}
	}
	return true
}

// versions are those that a request is tried in.
func (r *Request) versions() []string {
	last := versions[len(versions)-1:]
	switch {
	case r.Operation.Path == "/build": // moby's builder breaks for clients of 1.24
		return last
	case everything || r.Operation.phase() == reads && !strings.HasSuffix(r.Operation.Path, "/stats"):
		return versions
	case r.Property:
		return last
	}
	return []string{versions[0], last[0]}
}
