package snapshots_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/snapshots/v1"
	core "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/gantry-containers/gantry/manager/service/servicetest"
	"github.com/gantry-containers/gantry/manager/service/snapshots"
)

func serve(t *testing.T) (api.SnapshotsClient, *servicetest.Stores) {
	stores := servicetest.Open(t)
	conn := servicetest.Dial(t, snapshots.New(stores.DB.Snapshotters()))
	return api.NewSnapshotsClient(conn), stores
}

func TestErrors(t *testing.T) {
	client, _ := serve(t)
	huge := strings.Repeat("x", 40000)
	type call = func(context.Context) error
	prepare := func(sn, key, parent string, labels ...string) call {
		return func(ctx context.Context) error {
			r := &api.PrepareSnapshotRequest{Snapshotter: sn, Key: key, Parent: parent}
			for _, l := range labels {
				r.Labels = map[string]string{"containerd.io/a": l}
			}
			_, err := client.Prepare(ctx, r)
			return err
		}
	}
	view := func(sn, key, parent string) call {
		return func(ctx context.Context) error {
			_, err := client.View(ctx, &api.ViewSnapshotRequest{Snapshotter: sn, Key: key, Parent: parent})
			return err
		}
	}
	commit := func(sn, name, key string) call {
		return func(ctx context.Context) error {
			_, err := client.Commit(ctx, &api.CommitSnapshotRequest{Snapshotter: sn, Name: name, Key: key})
			return err
		}
	}
	mounts := func(sn, key string) call {
		return func(ctx context.Context) error {
			_, err := client.Mounts(ctx, &api.MountsRequest{Snapshotter: sn, Key: key})
			return err
		}
	}
	stat := func(sn, key string) call {
		return func(ctx context.Context) error {
			_, err := client.Stat(ctx, &api.StatSnapshotRequest{Snapshotter: sn, Key: key})
			return err
		}
	}
	usage := func(sn, key string) call {
		return func(ctx context.Context) error {
			_, err := client.Usage(ctx, &api.UsageRequest{Snapshotter: sn, Key: key})
			return err
		}
	}
	remove := func(sn, key string) call {
		return func(ctx context.Context) error {
			_, err := client.Remove(ctx, &api.RemoveSnapshotRequest{Snapshotter: sn, Key: key})
			return err
		}
	}
	update := func(sn string, info *api.Info, paths ...string) call {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.UpdateSnapshotRequest{Snapshotter: sn, Info: info, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	list := func(sn string, filters ...string) call {
		return func(ctx context.Context) error {
			s, err := client.List(ctx, &api.ListSnapshotsRequest{Snapshotter: sn, Filters: filters})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
	}
	cleanup := func(sn string) call {
		return func(ctx context.Context) error {
			_, err := client.Cleanup(ctx, &api.CleanupRequest{Snapshotter: sn})
			return err
		}
	}
	nowhere := func(c call) call {
		return func(context.Context) error { return c(t.Context()) }
	}
	rows := []servicetest.Row{
		{Name: "prepare", Call: prepare("native", "a", "")},
		{Name: "prepare again", Call: prepare("native", "a", ""), Want: codes.AlreadyExists},
		{Name: "prepare without key", Call: prepare("native", "", ""), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "prepare with a huge key", Call: prepare("native", huge, ""), Want: codes.InvalidArgument, Ours: true},
		{Name: "prepare on what is not there", Call: prepare("native", "b", "none"), Want: codes.NotFound},
		{Name: "prepare on what is not committed", Call: prepare("native", "b", "a"), Want: codes.InvalidArgument},
		{Name: "prepare with a long label", Call: prepare("native", "b", "", strings.Repeat("x", 5000)), Want: codes.InvalidArgument},
		{Name: "view on what is not there", Call: view("native", "b", "none"), Want: codes.NotFound},
		{Name: "view again", Call: view("native", "a", ""), Want: codes.AlreadyExists},
		{Name: "view without key", Call: view("native", "", ""), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "mounts", Call: mounts("native", "a")},
		{Name: "mounts of what is not there", Call: mounts("native", "none"), Want: codes.NotFound},
		{Name: "mounts of nothing", Call: mounts("native", ""), Want: codes.NotFound},
		{Name: "stat of what is not there", Call: stat("native", "none"), Want: codes.NotFound},
		{Name: "stat of nothing", Call: stat("native", ""), Want: codes.NotFound},
		{Name: "usage", Call: usage("native", "a")},
		{Name: "usage of what is not there", Call: usage("native", "none"), Want: codes.NotFound},
		{Name: "update", Call: update("native", &api.Info{Name: "a", Labels: map[string]string{"a": "b"}}, "labels")},
		{Name: "update nothing", Call: update("native", nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update what is not there", Call: update("native", &api.Info{Name: "none"}), Want: codes.NotFound},
		{Name: "update without name", Call: update("native", &api.Info{}), Want: codes.InvalidArgument},
		{Name: "update a field that there is not", Call: update("native", &api.Info{Name: "a"}, "parent"), Want: codes.InvalidArgument},
		{Name: "list with a bad filter", Call: list("native", "name=="), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "commit without name", Call: commit("native", "", "a"), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "commit what is not there", Call: commit("native", "b", "none"), Want: codes.NotFound},
		{Name: "commit", Call: commit("native", "a-committed", "a")},
		{Name: "commit again", Call: commit("native", "a-committed", "a"), Want: codes.AlreadyExists},
		{Name: "child", Call: prepare("native", "child", "a-committed")},
		{Name: "remove a parent", Call: remove("native", "a-committed"), Want: codes.FailedPrecondition},
		{Name: "mounts of what is committed", Call: mounts("native", "a-committed"), Want: codes.FailedPrecondition},
		{Name: "remove", Call: remove("native", "child")},
		{Name: "remove again", Call: remove("native", "child"), Want: codes.NotFound},
		{Name: "remove nothing", Call: remove("native", ""), Want: codes.NotFound},
		{Name: "cleanup", Call: cleanup("native"), Want: codes.Unimplemented},
	}
	for name, c := range map[string]func(sn string) call{
		"prepare": func(sn string) call { return prepare(sn, "z", "") },
		"view":    func(sn string) call { return view(sn, "z", "") },
		"commit":  func(sn string) call { return commit(sn, "y", "z") },
		"mounts":  func(sn string) call { return mounts(sn, "z") },
		"stat":    func(sn string) call { return stat(sn, "z") },
		"usage":   func(sn string) call { return usage(sn, "z") },
		"remove":  func(sn string) call { return remove(sn, "z") },
		"update":  func(sn string) call { return update(sn, &api.Info{Name: "z"}) },
		"list":    func(sn string) call { return list(sn) },
		"cleanup": cleanup,
	} {
		rows = append(rows,
			servicetest.Row{Name: name + " without snapshotter", Call: c(""), Want: codes.InvalidArgument},
			servicetest.Row{Name: name + " with an unknown snapshotter", Call: c("nonsense"), Want: codes.InvalidArgument},
		)
		row := servicetest.Row{Name: name + " in no namespace", Call: nowhere(c("native")), Want: codes.FailedPrecondition}
		switch name {
		case "list":
			row.Real = codes.Unknown
		case "cleanup":
			continue // it is for all namespaces
		}
		rows = append(rows, row)
	}
	servicetest.Run(t, rows)
}

func TestLife(t *testing.T) {
	client, stores := serve(t)
	namespace := servicetest.Namespace()
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	sn := proxy.NewSnapshotter(client, "native")

	mounts, err := sn.Prepare(ctx, "work", "", core.WithLabels(map[string]string{"containerd.io/a": "1"}))
	if err != nil || len(mounts) != 1 {
		t.Fatalf("mounts %v, %v", mounts, err)
	}
	stores.Events.Expect(t, namespace, "/snapshot/prepare")
	stores.Events.ExpectLast(t, "/snapshot/prepare", &eventtypes.SnapshotPrepare{Key: "work", Snapshotter: "native"})
	if err := os.WriteFile(filepath.Join(mounts[0].Source, "file"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := sn.Mounts(ctx, "work")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(mounts, again); d != "" {
		t.Errorf("mounts (-prepare +mounts):\n%s", d)
	}
	usage, err := sn.Usage(ctx, "work")
	if err != nil || usage.Size < 5000 || usage.Inodes < 2 {
		t.Errorf("usage %+v, %v", usage, err)
	}
	if err := sn.Commit(ctx, "layer", "work", core.WithLabels(map[string]string{"containerd.io/b": "2"})); err != nil {
		t.Fatal(err)
	}
	stores.Events.Expect(t, namespace, "/snapshot/commit")
	if _, err := sn.View(ctx, "view", "layer"); err != nil {
		t.Fatal(err)
	}
	stores.Events.Expect(t, namespace)

	info, err := sn.Stat(ctx, "layer")
	if err != nil {
		t.Fatal(err)
	}
	if info.Kind != core.KindCommitted || info.Labels["containerd.io/b"] != "2" || info.Created.IsZero() {
		t.Errorf("layer %+v", info)
	}
	info.Labels = map[string]string{"containerd.io/b": "changed", "c": "not named in the mask"}
	if info, err = sn.Update(ctx, info, "labels.containerd.io/b"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"containerd.io/b": "changed"}, info.Labels); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
	view, err := sn.Stat(ctx, "view")
	if err != nil || view.Kind != core.KindView || view.Parent != "layer" {
		t.Errorf("view %+v, %v", view, err)
	}
	if err := sn.Remove(ctx, "layer"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("removing a parent: %v", err)
	}
	for _, key := range []string{"view", "layer"} {
		if err := sn.Remove(ctx, key); err != nil {
			t.Error(err)
		}
	}
	stores.Events.Expect(t, namespace, "/snapshot/remove", "/snapshot/remove")
}

// A list comes in several messages, with everything in it once.
func TestList(t *testing.T) {
	client, _ := serve(t)
	ctx := servicetest.Context(t)
	sn := proxy.NewSnapshotter(client, "native")
	const many = 105
	for i := range many {
		labels := map[string]string{"containerd.io/odd": fmt.Sprint(i % 2), "containerd.io/gc.root": "test"}
		if _, err := sn.Prepare(ctx, fmt.Sprintf("s%03d", i), "", core.WithLabels(labels)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		filters []string
		want    int
	}{{nil, many}, {[]string{`labels."containerd.io/odd"==1`}, many / 2}, {[]string{"name==s000", "name==s100"}, 2}} {
		seen := make(map[string]bool)
		err := sn.Walk(ctx, func(_ context.Context, info core.Info) error {
			seen[info.Name] = true
			return nil
		}, c.filters...)
		if err != nil || len(seen) != c.want {
			t.Errorf("%v: %d snapshots, %v; want %d", c.filters, len(seen), err, c.want)
		}
	}
}

// cleaner is a snapshotter that can clean up, and nothing else.
type cleaner struct {
	core.Snapshotter
	cleaned int
}

func (c *cleaner) Cleanup(context.Context) error {
	c.cleaned++
	return nil
}

func TestCleanup(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("its snapshotters are others")
	}
	c := &cleaner{}
	conn := servicetest.Dial(t, snapshots.New(map[string]core.Snapshotter{"cleaner": c}))
	sn := proxy.NewSnapshotter(api.NewSnapshotsClient(conn), "cleaner")
	if err := sn.(core.Cleaner).Cleanup(servicetest.Context(t)); err != nil || c.cleaned != 1 {
		t.Errorf("cleaned up %d times, %v", c.cleaned, err)
	}
}
