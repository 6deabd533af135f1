package mounts_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/mounts/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/mount/manager"
	"github.com/containerd/containerd/v2/core/mount/proxy"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/gantry-containers/gantry/manager/service/mounts"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
	"github.com/gantry-containers/gantry/tests/harness"
)

func open(t *testing.T) mount.Manager {
	t.Helper()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "mounts.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // the directory goes, too
	m, err := manager.NewManager(db, filepath.Join(dir, "t"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestErrors(t *testing.T) {
	client := api.NewMountsClient(servicetest.Dial(t, mounts.New(open(t))))
	huge := strings.Repeat("x", 40000)
	bind := []*types.Mount{{Type: "bind", Source: "/", Options: []string{"rbind"}}}
	activate := func(name string, m []*types.Mount) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Activate(ctx, &api.ActivateRequest{Name: name, Mounts: m})
			return err
		}
	}
	deactivate := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Deactivate(ctx, &api.DeactivateRequest{Name: name})
			return err
		}
	}
	info := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Info(ctx, &api.InfoRequest{Name: name})
			return err
		}
	}
	update := func(i *types.ActivationInfo, paths ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.UpdateRequest{Info: i, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	list := func(filters ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := client.List(ctx, &api.ListRequest{Filters: filters})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
	}
	nowhere := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(t.Context()) }
	}
	servicetest.Run(t, []servicetest.Row{
		{Name: "activate what the client can mount itself", Call: activate("one", bind), Want: codes.Unimplemented},
		{Name: "activate nothing", Call: activate("one", nil), Want: codes.Unimplemented},
		{Name: "activate without name", Call: activate("", bind), Want: codes.InvalidArgument, Ours: true},
		{Name: "activate with a huge name", Call: activate(huge, bind), Want: codes.InvalidArgument, Ours: true},
		{Name: "activate in no namespace", Call: nowhere(activate("one", bind)), Want: codes.FailedPrecondition},
		{Name: "info of what is not there", Call: info("none"), Want: codes.NotFound},
		{Name: "info without name", Call: info(""), Want: codes.InvalidArgument, Ours: true},
		{Name: "info in no namespace", Call: nowhere(info("one")), Want: codes.FailedPrecondition},
		{Name: "update nothing", Call: update(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update an active mount without mount", Call: update(&types.ActivationInfo{Name: "one", Active: []*types.ActiveMount{{}}}), Want: codes.InvalidArgument, Ours: true},
		{Name: "deactivate what is not there", Call: deactivate("none"), Want: codes.NotFound},
		{Name: "deactivate without name", Call: deactivate(""), Want: codes.InvalidArgument, Ours: true},
		{Name: "deactivate in no namespace", Call: nowhere(deactivate("one")), Want: codes.FailedPrecondition},
		{Name: "list with a bad filter", Call: list("name=="), Want: codes.InvalidArgument, Ours: true},
		{Name: "list in no namespace", Call: nowhere(list()), Want: codes.FailedPrecondition},
	})
}

// A mount that needs another below it is made in the manager, and unmade.
func TestLife(t *testing.T) {
	harness.NeedRoot(t)
	client := api.NewMountsClient(servicetest.Dial(t, mounts.New(open(t))))
	ctx := servicetest.Context(t)
	remote := proxy.NewMountManager(client)
	source := t.TempDir()
	if err := os.Mkdir(filepath.Join(source, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	info, err := remote.Activate(ctx, "one", []mount.Mount{
		{Type: "bind", Source: source, Options: []string{"rbind", "ro"}},
		{Type: "format/bind", Source: "{{ mount 0 }}/sub", Options: []string{"rbind", "ro"}},
	}, mount.WithLabels(map[string]string{"a": "b"}))
	if err != nil {
		t.Fatal(err)
	}
	active := true
	t.Cleanup(func() {
		if active {
			mount.UnmountAll(info.Active[0].MountPoint, 0) //nolint:errcheck // the test has failed before
		}
	})
	if len(info.Active) != 1 || len(info.System) != 1 || info.System[0].Source != filepath.Join(info.Active[0].MountPoint, "sub") {
		t.Fatalf("activated %+v", info)
	}
	if _, err := os.Stat(info.System[0].Source); err != nil {
		t.Error(err)
	}
	if _, err := remote.Activate(ctx, "one", []mount.Mount{{Type: "format/bind", Source: "{{ mount 0 }}"}}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second activation: %v", err)
	}
	got, err := remote.Info(ctx, "one")
	if err != nil || len(got.Active) != 1 || got.Active[0].MountPoint != info.Active[0].MountPoint {
		t.Errorf("info %+v, %v", got, err)
	}
	all, err := remote.List(ctx)
	if err != nil || len(all) != 1 {
		t.Errorf("list %+v, %v", all, err)
	}
	if err := remote.Deactivate(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	active = false
	if _, err := remote.Info(ctx, "one"); !errdefs.IsNotFound(err) {
		t.Errorf("info after deactivation: %v", err)
	}
}
