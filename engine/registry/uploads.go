package registry

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/progress"
)

// lookEvery is how often an upload's progress is looked at.
const lookEvery = 100 * time.Millisecond

// uploads are the blobs of a push, and what was told of each.
type uploads struct {
	out     *progress.Writer
	tracker docker.StatusTracker

	mu    sync.Mutex
	known map[digest.Digest]bool
	// open are those that are not done, in the order in which they came; told is the last step of each.
	open []ocispec.Descriptor
	told map[digest.Digest]string
	// missing says that what has not begun will not.
	missing bool
}

// add shows a blob for the first time.
func (u *uploads) add(desc ocispec.Descriptor) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !shown(desc) || u.known[desc.Digest] {
		return
	}
	if u.known == nil {
		u.known, u.told = map[digest.Digest]bool{}, map[digest.Digest]string{}
	}
	u.known[desc.Digest] = true
	u.open = append(u.open, desc)
	u.status(desc, "Preparing")
}

// giveUpWaiting says that what has not begun is not here.
func (u *uploads) giveUpWaiting() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.missing = true
}

// watch tells how far the uploads are, until its end is called, which tells the last of it.
func (u *uploads) watch(ctx context.Context) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				u.look(ctx)
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		u.look(ctx)
	}
}

// look tells of each open upload what is new.
func (u *uploads) look(ctx context.Context) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var open []ocispec.Descriptor
	for _, desc := range u.open {
		if !u.ended(ctx, desc) {
			open = append(open, desc)
		}
	}
	u.open = open
}

// ended tells of one upload, and says whether it is done.
func (u *uploads) ended(ctx context.Context, desc ocispec.Descriptor) bool {
	s, err := u.tracker.GetStatus(remotes.MakeRefKey(ctx, desc))
	switch {
	case err != nil || (s.Total > 0 && s.Offset == 0):
		if u.missing {
			u.status(desc, "Unavailable")
		} else {
			u.status(desc, stepWaiting)
		}
		return false
	case !s.Committed || s.Offset < s.Total:
		u.told[desc.Digest] = "Pushing"
		u.out.Bytes(shortID(desc.Digest), "Pushing", s.Offset, s.Total)
		return false
	case s.MountedFrom != "":
		from := s.MountedFrom
		if ref, err := reference.ParseNormalizedNamed(from); err == nil {
			from = reference.Path(ref)
		}
		u.status(desc, "Mounted from "+from)
	case s.Exists && images.IsLayerType(desc.MediaType):
		u.status(desc, "Layer already exists")
	case s.Exists:
		u.status(desc, stepExists)
	default:
		u.status(desc, "Pushed")
	}
	return true
}

// status tells a step, unless it was the last that was told.
func (u *uploads) status(desc ocispec.Descriptor, step string) {
	if u.told[desc.Digest] == step {
		return
	}
	u.told[desc.Digest] = step
	u.out.Status(shortID(desc.Digest), step)
}
