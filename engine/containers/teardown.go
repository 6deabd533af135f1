package containers

import (
	"context"
	"log/slog"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// teardown gives back what a start made outside of the manager. All of it can be repeated, and nothing of it can be
// helped when it fails: it is logged, and the next start or remove tries again.
type teardown struct {
	streams  Streams
	mounts   Mounts
	networks Networks
	dir      func(id string) string
}

// all gives everything back.
func (t *teardown) all(ctx context.Context, c *container.Container) {
	t.closeStreams(ctx, c.ID)
	t.host(ctx, c)
}

func (t *teardown) closeStreams(ctx context.Context, id string) {
	t.log("close the streams", id, t.streams.Close(ctx, stdio.Key{Container: id}))
}

// host gives back network and mounts.
func (t *teardown) host(ctx context.Context, c *container.Container) {
	t.log("release the network", c.ID, t.networks.Release(ctx, c))
	if _, shared := spec.SharedShm(c.HostConfig); shared {
		t.log("unmount /dev/shm", c.ID, unmountShm(shmDir(t.dir(c.ID))))
	}
	t.log("finish the mounts", c.ID, t.mounts.Finish(ctx, c))
}

func (t *teardown) log(what, id string, err error) {
	if err != nil {
		slog.Warn("cannot "+what, "container", id, "error", err)
	}
}
