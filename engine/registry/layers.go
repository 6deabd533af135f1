package registry

import (
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/progress"
)

// The steps of a layer, in the words that clients know.
const (
	stepPulling     = "Pulling fs layer"
	stepWaiting     = "Waiting"
	stepDownloading = "Downloading"
	stepVerifying   = "Verifying Checksum"
	stepDownloaded  = "Download complete"
	stepExists      = "Already exists"
	stepExtracting  = "Extracting"
	stepDone        = "Pull complete"
)

// noticeable is how long a step has to take before anybody sees it.
const noticeable = 200 * time.Millisecond

// layers are those of one pull, and what was told of each.
type layers struct {
	mu     sync.Mutex
	hidden bool
	// steps is the last step of each that is shown; order is how they came.
	steps map[digest.Digest]string
	order []ocispec.Descriptor
	// clocks tell how long those have taken that are being extracted.
	clocks map[digest.Digest]chan struct{}
	ticks  sync.WaitGroup
}

// shown says that clients see a thing's progress: not that of small documents, which images have always had.
func shown(desc ocispec.Descriptor) bool {
	return !images.IsIndexType(desc.MediaType) && !images.IsManifestType(desc.MediaType) && !images.IsConfigType(desc.MediaType)
}

// shortID is a layer's name for people.
func shortID(d digest.Digest) string {
	hex := d.Encoded()
	return hex[:min(len(hex), 12)]
}

// hide says that nothing shall be told.
func (l *layers) hide() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hidden = true
}

// tell shows the layers of a manifest for the first time. Those beyond the first few wait.
func (l *layers) tell(out *progress.Writer, children []ocispec.Descriptor, atOnce int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hidden {
		return
	}
	if l.steps == nil {
		l.steps = map[digest.Digest]string{}
	}
	for _, desc := range children {
		if _, ok := l.steps[desc.Digest]; ok || !images.IsLayerType(desc.MediaType) {
			continue
		}
		l.steps[desc.Digest] = stepPulling
		l.order = append(l.order, desc)
		out.Status(shortID(desc.Digest), stepPulling)
	}
	for i, desc := range l.order {
		if i >= atOnce && l.steps[desc.Digest] == stepPulling {
			l.steps[desc.Digest] = stepWaiting
			out.Status(shortID(desc.Digest), stepWaiting)
		}
	}
}

// step takes a layer to another step, and says whether it is to be told.
func (l *layers) step(desc ocispec.Descriptor, step string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hidden || !shown(desc) {
		return false
	}
	if l.steps == nil {
		l.steps = map[digest.Digest]string{}
	}
	l.steps[desc.Digest] = step
	return true
}

func (l *layers) status(out *progress.Writer, desc ocispec.Descriptor, step string) {
	if l.step(desc, step) {
		out.Status(shortID(desc.Digest), step)
	}
}

func (l *layers) bytes(out *progress.Writer, desc ocispec.Descriptor, n int64) {
	if n >= desc.Size {
		l.verifying(out, desc)
		return
	}
	if n > 0 && l.step(desc, stepDownloading) {
		out.Bytes(shortID(desc.Digest), stepDownloading, n, desc.Size)
	}
}

// verifying tells of the step between the last byte and the manager's word that they were the right ones, if it takes
// long enough to be seen.
func (l *layers) verifying(out *progress.Writer, desc ocispec.Descriptor) {
	l.mu.Lock()
	already := l.steps[desc.Digest] == stepVerifying
	l.mu.Unlock()
	if already || !l.step(desc, stepVerifying) {
		return
	}
	time.AfterFunc(noticeable, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.hidden && l.steps[desc.Digest] == stepVerifying {
			out.Status(shortID(desc.Digest), stepVerifying)
		}
	})
}

func (l *layers) fetched(out *progress.Writer, desc ocispec.Descriptor) {
	if l.step(desc, stepDownloaded) {
		out.Done(shortID(desc.Digest), stepDownloaded)
	}
}

func (l *layers) existed(out *progress.Writer, desc ocispec.Descriptor) {
	if l.step(desc, stepExists) {
		out.Done(shortID(desc.Digest), stepExists)
	}
}

// Extracting implements unpack.Layers.
func (p *pull) Extracting(desc ocispec.Descriptor) {
	l := &p.layers
	if !l.step(desc, stepExtracting) {
		return
	}
	start, stop := time.Now(), make(chan struct{})
	p.out.Elapsed(shortID(desc.Digest), stepExtracting, 0)
	l.mu.Lock()
	if l.clocks == nil {
		l.clocks = map[digest.Digest]chan struct{}{}
	}
	l.clocks[desc.Digest] = stop
	l.mu.Unlock()
	l.ticks.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.out.Elapsed(shortID(desc.Digest), stepExtracting, time.Since(start))
			}
		}
	})
}

// Extracted implements unpack.Layers.
func (p *pull) Extracted(desc ocispec.Descriptor, err error) {
	l := &p.layers
	l.mu.Lock()
	if stop, ok := l.clocks[desc.Digest]; ok {
		close(stop)
		delete(l.clocks, desc.Digest)
	}
	l.mu.Unlock()
	if err == nil && l.step(desc, stepDone) {
		p.out.Done(shortID(desc.Digest), stepDone)
	}
}

// stopTelling waits until nothing is told any more.
func (p *pull) stopTelling() {
	p.layers.ticks.Wait()
	p.layers.hide()
}

// finish completes the layers that had nothing to be extracted: another image had unpacked the same.
func (p *pull) finish() {
	p.layers.mu.Lock()
	defer p.layers.mu.Unlock()
	for _, desc := range p.layers.order {
		if p.layers.steps[desc.Digest] == stepDownloaded {
			p.out.Done(shortID(desc.Digest), stepDone)
		}
	}
}
