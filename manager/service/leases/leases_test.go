package leases_test

import (
	"context"
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/leases/v1"
	core "github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/gantry-containers/gantry/manager/service/leases"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

func serve(t *testing.T) (api.LeasesClient, *servicetest.Stores) {
	stores := servicetest.Open(t)
	conn := servicetest.Dial(t, leases.New(metadata.NewLeaseManager(stores.DB), stores.Collect))
	return api.NewLeasesClient(conn), stores
}

func TestErrors(t *testing.T) {
	client, _ := serve(t)
	content := &api.Resource{ID: digest.FromString("a").String(), Type: "content"}
	huge := strings.Repeat("x", 40000)
	create := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.CreateRequest{ID: id})
			return err
		}
	}
	remove := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, &api.DeleteRequest{ID: id, Sync: true})
			return err
		}
	}
	list := func(filters ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.List(ctx, &api.ListRequest{Filters: filters})
			return err
		}
	}
	add := func(id string, r *api.Resource) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.AddResource(ctx, &api.AddResourceRequest{ID: id, Resource: r})
			return err
		}
	}
	take := func(id string, r *api.Resource) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.DeleteResource(ctx, &api.DeleteResourceRequest{ID: id, Resource: r})
			return err
		}
	}
	resources := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.ListResources(ctx, &api.ListResourcesRequest{ID: id})
			return err
		}
	}
	nowhere := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(t.Context()) }
	}
	servicetest.Run(t, []servicetest.Row{
		{Name: "add to a lease in an empty namespace", Call: add("one", content), Want: codes.NotFound},
		{Name: "resources in an empty namespace", Call: resources("one"), Want: codes.NotFound},
		{Name: "delete in an empty namespace", Call: remove("one"), Want: codes.NotFound},
		{Name: "create", Call: create("one")},
		{Name: "create again", Call: create("one"), Want: codes.AlreadyExists},
		{Name: "create without id", Call: create("")},
		{Name: "create with an odd id", Call: create("../ a\x00b")},
		{Name: "create with a huge id", Call: create(huge), Want: codes.InvalidArgument, Ours: true},
		{Name: "create in no namespace", Call: nowhere(create("one")), Want: codes.FailedPrecondition},
		{Name: "list", Call: list("id==one")},
		{Name: "list with a bad filter", Call: list("id=="), Want: codes.InvalidArgument},
		{Name: "list in no namespace", Call: nowhere(list()), Want: codes.FailedPrecondition},
		{Name: "add", Call: add("one", content)},
		{Name: "add again", Call: add("one", content)},
		{Name: "add nothing", Call: add("one", nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "add garbage for content", Call: add("one", &api.Resource{ID: "garbage", Type: "content"}), Want: codes.InvalidArgument},
		{Name: "add a snapshot of no snapshotter", Call: add("one", &api.Resource{ID: "a", Type: "snapshots"}), Want: codes.InvalidArgument},
		{Name: "add a snapshot", Call: add("one", &api.Resource{ID: "a", Type: "snapshots/native"})},
		{Name: "add an ingest", Call: add("one", &api.Resource{ID: "a", Type: "ingests"})},
		{Name: "add an ingest without ref", Call: add("one", &api.Resource{Type: "ingests"}), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "add an ingest with a huge ref", Call: add("one", &api.Resource{ID: huge, Type: "ingests"}), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "add what cannot be leased", Call: add("one", &api.Resource{ID: "a", Type: "tasks"}), Want: codes.Unimplemented},
		{Name: "add to what is not there", Call: add("two", content), Want: codes.NotFound},
		{Name: "add in no namespace", Call: nowhere(add("one", content)), Want: codes.FailedPrecondition},
		{Name: "resources", Call: resources("one")},
		{Name: "resources of what is not there", Call: resources("two"), Want: codes.NotFound},
		{Name: "resources of nothing", Call: resources(""), Want: codes.NotFound},
		{Name: "resources in no namespace", Call: nowhere(resources("one")), Want: codes.FailedPrecondition},
		{Name: "take out", Call: take("one", content)},
		{Name: "take out again", Call: take("one", content)},
		{Name: "take out nothing", Call: take("one", nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "take out garbage", Call: take("one", &api.Resource{ID: "garbage", Type: "content"}), Want: codes.InvalidArgument},
		{Name: "take out of what is not there", Call: take("two", content), Want: codes.NotFound},
		{Name: "take out in no namespace", Call: nowhere(take("one", content)), Want: codes.FailedPrecondition},
		{Name: "delete", Call: remove("one")},
		{Name: "delete again", Call: remove("one"), Want: codes.NotFound},
		{Name: "delete nothing", Call: remove(""), Want: codes.InvalidArgument, Real: codes.NotFound},
		{Name: "delete in no namespace", Call: nowhere(remove("one")), Want: codes.FailedPrecondition},
	})
}

func TestLife(t *testing.T) {
	client, stores := serve(t)
	ctx := servicetest.Context(t)
	manager := proxy.NewLeaseManager(client)
	one, err := manager.Create(ctx, core.WithID("one"), core.WithLabels(map[string]string{"a": "b"}))
	if err != nil {
		t.Fatal(err)
	}
	if one.ID != "one" || one.Labels["a"] != "b" || one.CreatedAt.IsZero() {
		t.Errorf("created %+v", one)
	}
	random, err := manager.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filters []string
		want    []string
	}{{nil, []string{"one", random.ID}}, {[]string{"labels.a==b"}, []string{"one"}}, {[]string{"id==none"}, nil}} {
		found, err := manager.List(ctx, c.filters...)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, l := range found {
			ids = append(ids, l.ID)
		}
		if d := cmp.Diff(c.want, ids, cmpopts.SortSlices(func(a, b string) bool { return a < b })); d != "" {
			t.Errorf("leases of %v (-want +got):\n%s", c.filters, d)
		}
	}

	held := []core.Resource{
		{ID: digest.FromString("a").String(), Type: "content"},
		{ID: "ref", Type: "ingests"},
		{ID: "key", Type: "snapshots/native"},
	}
	for _, r := range held {
		if err := manager.AddResource(ctx, one, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := manager.ListResources(ctx, one)
	if err != nil {
		t.Fatal(err)
	}
	byID := cmpopts.SortSlices(func(a, b core.Resource) bool { return a.ID < b.ID })
	if d := cmp.Diff(held, got, byID); d != "" {
		t.Errorf("resources (-want +got):\n%s", d)
	}
	if err := manager.DeleteResource(ctx, one, held[0]); err != nil {
		t.Fatal(err)
	}
	if got, err = manager.ListResources(ctx, one); err != nil || len(got) != 2 {
		t.Errorf("after one of three is taken out: %v, %v", got, err)
	}
	if err := manager.Delete(ctx, random); err != nil {
		t.Fatal(err)
	}
	if n := stores.Collected.Load(); n != 0 {
		t.Errorf("garbage was collected for a deletion that did not ask for it")
	}
	if err := manager.Delete(ctx, one, core.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if n := stores.Collected.Load(); n != 1 && !servicetest.Oracle() {
		t.Errorf("garbage was collected %d times, want once", n)
	}
}
