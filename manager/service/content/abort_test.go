package content_test

import (
	"context"
	"io/fs"
	"testing"

	api "github.com/containerd/containerd/api/services/content/v1"
	core "github.com/containerd/containerd/v2/core/content"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/gantry-containers/gantry/manager/service/content"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

// busy is a store whose directory is not empty for some time.
type busy struct {
	core.Store
	left int
}

func (b *busy) Abort(context.Context, string) error {
	if b.left == 0 {
		return nil
	}
	b.left--
	return &fs.PathError{Op: "unlinkat", Path: "ingest", Err: unix.ENOTEMPTY}
}

// An abort right after the end of a write is not refused because the writer is not quite gone.
func TestAbortOfWhatJustEnded(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("it needs a store of its own")
	}
	for left, want := range map[int]codes.Code{0: codes.OK, 3: codes.OK, 1000: codes.Unknown} {
		client := api.NewContentClient(servicetest.Dial(t, content.New(&busy{left: left})))
		_, err := client.Abort(servicetest.Context(t), &api.AbortRequest{Ref: "ref"})
		if got := servicetest.Code(err); got != want {
			t.Errorf("%d times: %v (%v), want %v", left, got, err, want)
		}
	}
}
