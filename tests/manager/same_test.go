package manager_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// same is how to make something of one name, and to remove it.
type same struct {
	make, remove func() error
}

// classOf is an error's code, whichever client it comes from.
func classOf(err error) codes.Code {
	if code := ttrpc.CodeOf(err); code != ttrpc.Unknown {
		return codes.Code(code)
	}
	return status.Code(errgrpc.ToGRPC(err))
}

// TestSameName has eight clients make the same thing. One of them is the first; the others hear that it exists, or that it
// is being made; and it can be removed.
func TestSameName(t *testing.T) {
	s := start(t)
	c, ctx := s.api()
	defer hangUp(c)
	// The collector, which a removal calls, must not make room for a second one.
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "now"})
	containers := containersapi.NewContainersClient(c.Conn().(*grpc.ClientConn))
	for name, r := range map[string]same{
		"container": {
			func() error {
				_, err := containers.Create(ctx, &containersapi.CreateContainerRequest{Container: &containersapi.Container{
					ID: "same", Spec: &anypb.Any{TypeUrl: "x"}, Runtime: &containersapi.Container_Runtime{Name: "io.containerd.runc.v2"},
				}})
				return err
			},
			func() error { return s.DeleteContainer(ctx, "same") },
		},
		"task": s.sameTask(ctx),
		"namespace": {
			func() error { return c.NamespaceService().Create(ctx, s.ns+"-same", nil) },
			func() error { return c.NamespaceService().Delete(ctx, s.ns+"-same") },
		},
		"lease": {
			func() error { _, err := c.LeasesService().Create(ctx, leases.WithID("same")); return err },
			func() error { return c.LeasesService().Delete(ctx, leases.Lease{ID: "same"}, leases.SynchronousDelete) },
		},
		"snapshot": {
			func() error {
				_, err := c.SnapshotService(overlayfs).Prepare(ctx, "same", "", keep)
				return err
			},
			func() error { return c.SnapshotService(overlayfs).Remove(ctx, "same") },
		},
		"ingest": sameIngest(ctx, c),
	} {
		t.Run(name, func(t *testing.T) {
			if upstream() && (name == "task" || name == "ingest") {
				t.Skip("containerd 2.4.2 tells those who come later of a file that exists, or makes two")
			}
			for round := range 5 {
				if first := r.together(t, 8); first != 1 {
					t.Errorf("round %d: %d have made it; want one", round, first)
				}
				if err := r.remove(); err != nil {
					t.Errorf("remove: %v", err)
				}
			}
		})
	}
	collect(ctx, t, c)
	s.stores(ctx, c)
}

// together has clients make it at the same time, and returns how many of them succeed.
func (r same) together(t *testing.T, clients int) (first int) {
	t.Helper()
	errs := make(chan error, clients)
	for range clients {
		go func() { errs <- r.make() }()
	}
	for range clients {
		switch err := <-errs; classOf(err) {
		case codes.OK:
			first++
		case codes.AlreadyExists, codes.Unavailable:
		default:
			t.Errorf("%v: %v", classOf(err), err)
		}
	}
	return first
}

// sameTask makes the task of one container.
func (s *subject) sameTask(ctx context.Context) same {
	const id = "same-task"
	if err := s.record(ctx, container{id: id, script: "sleep 1000"}); err != nil {
		s.t.Fatal(err)
	}
	return same{
		func() error {
			_, err := s.CreateTask(ctx, id, client.IO{}, &types.Mount{Type: "bind", Source: s.rootfs, Options: []string{"rbind", "ro"}})
			return err
		},
		func() error {
			_, err := s.Delete(ctx, id, "")
			return err
		},
	}
}

// sameIngest begins to write content under one reference. Who has it keeps it until it is removed; the end of a stream is
// heard of later, so the next reference is another.
func sameIngest(ctx context.Context, c *containerd.Client) same {
	writers, round := make(chan content.Writer, 8), 0
	ref := func() string { return fmt.Sprint("same-", round) }
	return same{
		func() error {
			w, err := c.ContentStore().Writer(ctx, content.WithRef(ref()))
			if err == nil {
				writers <- w
			}
			return err
		},
		func() error {
			var errs []error
			for range len(writers) {
				errs = append(errs, (<-writers).Close())
			}
			errs = append(errs, c.ContentStore().Abort(ctx, ref()))
			round++
			return errors.Join(errs...)
		},
	}
}
