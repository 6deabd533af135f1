package manager_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	transferapi "github.com/containerd/containerd/api/services/transfer/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/gantry-containers/gantry/tests/compat"
)

// badCall is a call that must be refused.
type badCall struct {
	name, method string
	request      proto.Message
	want         codes.Code
}

// crashes names the calls that end containerd 2.4.2: it is not asked.
var crashes = []string{"Containers/Create/no container", "Containers/Update/no container"}

const (
	nobody  = "nobody"
	service = "/containerd.services."
	sum     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func badCalls() []badCall {
	spec := &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: []byte("{}")}
	record := func(change func(c *containersapi.Container)) *containersapi.CreateContainerRequest {
		c := &containersapi.Container{ID: "refused", Spec: spec, Runtime: &containersapi.Container_Runtime{Name: "io.containerd.runc.v2"}}
		change(c)
		return &containersapi.CreateContainerRequest{Container: c}
	}
	id := func(id string) *containersapi.CreateContainerRequest {
		return record(func(c *containersapi.Container) { c.ID = id })
	}
	space := func(name string, labels map[string]string) *namespacesapi.CreateNamespaceRequest {
		return &namespacesapi.CreateNamespaceRequest{Namespace: &namespacesapi.Namespace{Name: name, Labels: labels}}
	}
	image := func(name, digest string) *imagesapi.CreateImageRequest {
		return &imagesapi.CreateImageRequest{Image: &imagesapi.Image{Name: name, Target: &types.Descriptor{MediaType: typeManifest, Digest: digest, Size: 1}}}
	}
	const (
		containers, tasks, spaces = service + "containers.v1.Containers/", service + "tasks.v1.Tasks/", service + "namespaces.v1.Namespaces/"
		images, content           = service + "images.v1.Images/", service + "content.v1.Content/"
		snapshots, leases         = service + "snapshots.v1.Snapshots/", service + "leases.v1.Leases/"
	)
	long := strings.Repeat("x", 5000)
	return []badCall{
		{"no id", containers + "Create", id(""), codes.InvalidArgument},
		{"an id with a slash", containers + "Create", id("a/b"), codes.InvalidArgument},
		{"an id that goes up", containers + "Create", id("../a"), codes.InvalidArgument},
		{"dots for an id", containers + "Create", id(".."), codes.InvalidArgument},
		{"a long id", containers + "Create", id(strings.Repeat("a", 77)), codes.InvalidArgument},
		{"an id with a nul", containers + "Create", id("a\x00b"), codes.InvalidArgument},
		{"an id with a newline", containers + "Create", id("a\nb"), codes.InvalidArgument},
		{"no runtime", containers + "Create", record(func(c *containersapi.Container) { c.Runtime = nil }), codes.InvalidArgument},
		{"no runtime's name", containers + "Create", record(func(c *containersapi.Container) { c.Runtime.Name = "" }), codes.InvalidArgument},
		{"a long label", containers + "Create", record(func(c *containersapi.Container) { c.Labels = map[string]string{"a": long} }), codes.InvalidArgument},
		{"a snapshot without a snapshotter", containers + "Create", record(func(c *containersapi.Container) { c.SnapshotKey = "a" }), codes.InvalidArgument},
		{"no container", containers + "Create", &containersapi.CreateContainerRequest{}, codes.InvalidArgument},
		{"a container that is not there", containers + "Get", &containersapi.GetContainerRequest{ID: nobody}, codes.NotFound},
		{"a container that is not there", containers + "Delete", &containersapi.DeleteContainerRequest{ID: nobody}, codes.NotFound},
		{"a container that is not there", containers + "Update", &containersapi.UpdateContainerRequest{Container: &containersapi.Container{ID: nobody}}, codes.NotFound},
		{"no container", containers + "Update", &containersapi.UpdateContainerRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}}, codes.InvalidArgument},
		{"a broken filter", containers + "List", &containersapi.ListContainersRequest{Filters: []string{"id=="}}, codes.InvalidArgument},

		{"a task without a container", tasks + "Create", &tasksapi.CreateTaskRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Start", &tasksapi.StartRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Delete", &tasksapi.DeleteTaskRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "DeleteProcess", &tasksapi.DeleteProcessRequest{ContainerID: nobody, ExecID: "e"}, codes.NotFound},
		{"no task", tasks + "Get", &tasksapi.GetRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Kill", &tasksapi.KillRequest{ContainerID: nobody, Signal: 9}, codes.NotFound},
		{"no task", tasks + "Exec", &tasksapi.ExecProcessRequest{ContainerID: nobody, ExecID: "e", Spec: spec}, codes.NotFound},
		{"no exec's id", tasks + "Exec", &tasksapi.ExecProcessRequest{ContainerID: nobody, Spec: spec}, codes.InvalidArgument},
		{"no task", tasks + "ResizePty", &tasksapi.ResizePtyRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "CloseIO", &tasksapi.CloseIORequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Pause", &tasksapi.PauseTaskRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Resume", &tasksapi.ResumeTaskRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "ListPids", &tasksapi.ListPidsRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Checkpoint", &tasksapi.CheckpointTaskRequest{ContainerID: nobody}, codes.NotFound},
		{"no task", tasks + "Update", &tasksapi.UpdateTaskRequest{ContainerID: nobody, Resources: spec}, codes.NotFound},
		{"no task", tasks + "Wait", &tasksapi.WaitRequest{ContainerID: nobody}, codes.NotFound},

		{"no name", spaces + "Create", space("", nil), codes.InvalidArgument},
		{"a name with a blank", spaces + "Create", space("a b", nil), codes.InvalidArgument},
		{"a name with a slash", spaces + "Create", space("a/b", nil), codes.InvalidArgument},
		{"a name that goes up", spaces + "Create", space("..", nil), codes.InvalidArgument},
		{"a long name", spaces + "Create", space(strings.Repeat("a", 100), nil), codes.InvalidArgument},
		{"a long label", spaces + "Create", space("refused", map[string]string{"a": long}), codes.InvalidArgument},
		{"a namespace that is not there", spaces + "Delete", &namespacesapi.DeleteNamespaceRequest{Name: nobody}, codes.NotFound},

		{"no name", images + "Create", image("", sum), codes.InvalidArgument},
		{"no target", images + "Create", image("refused", ""), codes.InvalidArgument},
		{"a digest that is none", images + "Create", image("refused", "sha256:x"), codes.InvalidArgument},
		{"an image that is not there", images + "Get", &imagesapi.GetImageRequest{Name: nobody}, codes.NotFound},
		{"an image that is not there", images + "Delete", &imagesapi.DeleteImageRequest{Name: nobody}, codes.NotFound},
		{"a broken filter", images + "List", &imagesapi.ListImagesRequest{Filters: []string{"name=="}}, codes.InvalidArgument},

		{"a digest that is none", content + "Info", &contentapi.InfoRequest{Digest: "x"}, codes.InvalidArgument},
		{"content that is not there", content + "Info", &contentapi.InfoRequest{Digest: sum}, codes.NotFound},
		{"content that is not there", content + "Delete", &contentapi.DeleteContentRequest{Digest: sum}, codes.NotFound},
		{"a digest that is none", content + "Delete", &contentapi.DeleteContentRequest{Digest: "sha256:../../x"}, codes.InvalidArgument},
		{"no status", content + "Status", &contentapi.StatusRequest{Ref: nobody}, codes.NotFound},
		{"no ingest", content + "Abort", &contentapi.AbortRequest{Ref: nobody}, codes.NotFound},
		{"a broken filter", content + "ListStatuses", &contentapi.ListStatusesRequest{Filters: []string{"=="}}, codes.InvalidArgument},

		{"a snapshotter that is not there", snapshots + "Prepare", &snapshotsapi.PrepareSnapshotRequest{Snapshotter: nobody, Key: "refused"}, codes.InvalidArgument},
		{"no key", snapshots + "Prepare", &snapshotsapi.PrepareSnapshotRequest{Snapshotter: overlayfs}, codes.InvalidArgument},
		{"no parent", snapshots + "Prepare", &snapshotsapi.PrepareSnapshotRequest{Snapshotter: overlayfs, Key: "refused", Parent: nobody}, codes.NotFound},
		{"no parent", snapshots + "View", &snapshotsapi.ViewSnapshotRequest{Snapshotter: overlayfs, Key: "refused", Parent: nobody}, codes.NotFound},
		{"no snapshot", snapshots + "Mounts", &snapshotsapi.MountsRequest{Snapshotter: overlayfs, Key: nobody}, codes.NotFound},
		{"no snapshot", snapshots + "Commit", &snapshotsapi.CommitSnapshotRequest{Snapshotter: overlayfs, Name: "refused", Key: nobody}, codes.NotFound},
		{"no snapshot", snapshots + "Remove", &snapshotsapi.RemoveSnapshotRequest{Snapshotter: overlayfs, Key: nobody}, codes.NotFound},
		{"no snapshot", snapshots + "Stat", &snapshotsapi.StatSnapshotRequest{Snapshotter: overlayfs, Key: nobody}, codes.NotFound},
		{"no snapshot", snapshots + "Usage", &snapshotsapi.UsageRequest{Snapshotter: overlayfs, Key: nobody}, codes.NotFound},

		{"a lease that is not there", leases + "Delete", &leasesapi.DeleteRequest{ID: nobody}, codes.NotFound},
		{"a lease that is not there", leases + "AddResource", &leasesapi.AddResourceRequest{ID: nobody, Resource: &leasesapi.Resource{ID: sum, Type: "content"}}, codes.NotFound},
		{"a lease that is not there", leases + "ListResources", &leasesapi.ListResourcesRequest{ID: nobody}, codes.NotFound},

		{"content that is not there", service + "diff.v1.Diff/Apply", &diffapi.ApplyRequest{Diff: &types.Descriptor{MediaType: typeLayer, Digest: sum, Size: 1}}, codes.NotFound},
		{"a broken filter", service + "events.v1.Events/Publish", &eventsapi.PublishRequest{Topic: "no-slash", Event: spec}, codes.InvalidArgument},
		{"no topic", service + "events.v1.Events/Publish", &eventsapi.PublishRequest{Event: spec}, codes.InvalidArgument},
		{"a broken filter", service + "introspection.v1.Introspection/Plugins", &introspectionapi.PluginsRequest{Filters: []string{"id=="}}, codes.InvalidArgument},
		{"no source", service + "transfer.v1.Transfer/Transfer", &transferapi.TransferRequest{}, codes.InvalidArgument},
		{"a source of an unknown type", service + "transfer.v1.Transfer/Transfer", &transferapi.TransferRequest{
			Source: &anypb.Any{TypeUrl: "nobody.knows"}, Destination: &anypb.Any{TypeUrl: "nobody.knows"},
		}, codes.Unimplemented},
		{"an unknown method", tasks + "Dance", &tasksapi.GetRequest{}, codes.Unimplemented},
		{"an unknown service", "/nobody.knows/Get", &tasksapi.GetRequest{}, codes.Unimplemented},
		{"a message of 17 MiB", containers + "Create", record(func(c *containersapi.Container) {
			c.Spec = &anypb.Any{TypeUrl: spec.TypeUrl, Value: make([]byte, 17<<20)}
		}), codes.ResourceExhausted},
	}
}

// unclassified names the calls that containerd 2.4.2 refuses with an error of no class.
var unclassified = []string{"Snapshots/Prepare/no key", "Transfer/Transfer/no source", "Transfer/Transfer/a source of an unknown type"}

// TestBadCalls makes calls that must be refused, at the manager and at containerd. Both refuse them with the same code,
// and nothing is left.
func TestBadCalls(t *testing.T) {
	daemons := []*subject{start(t), startOf(t, compat.Containerd24)}
	for _, b := range badCalls() {
		t.Run(b.path(), func(t *testing.T) {
			for i, s := range daemons {
				b.try(t, s, i == 1 || upstream())
			}
		})
	}
	for _, name := range []string{"", "a b", "a/b", "..", "../../x", strings.Repeat("a", 100)} {
		t.Run(fmt.Sprintf("namespace %.20q", name), func(t *testing.T) {
			for _, s := range daemons {
				s.refuses(t, name)
			}
		})
	}
	s := daemons[0]
	c, ctx := s.api()
	defer hangUp(c)
	collect(ctx, t, c)
	s.stores(ctx, c)
	if list, err := c.ContainerService().List(ctx); err != nil || len(list) > 0 {
		t.Errorf("left behind: containers %v, %v", list, err)
	}
}

// path is service, method and what is wrong.
func (b badCall) path() string {
	return fmt.Sprint(b.method[strings.LastIndex(b.method, ".")+1:], "/", b.name)
}

func (b badCall) try(t *testing.T, s *subject, theirs bool) {
	t.Helper()
	if theirs && slices.Contains(crashes, b.path()) {
		return
	}
	want := b.want
	if theirs && slices.Contains(unclassified, b.path()) {
		want = codes.Unknown
	}
	c, ctx := s.api()
	defer hangUp(c)
	err := c.Conn().(*grpc.ClientConn).Invoke(ctx, b.method, proto.Clone(b.request), &emptypb.Empty{})
	if status.Code(err) != want {
		t.Errorf("%s: %v; want %v: %v", s.daemon.Generation, status.Code(err), want, err)
	}
}

// refuses wants a call in a namespace of this name, or in none, to be refused.
func (s *subject) refuses(t *testing.T, name string) {
	t.Helper()
	c, ctx := s.api()
	defer hangUp(c)
	want := codes.InvalidArgument
	ctx = namespaces.WithNamespace(ctx, name)
	if name == "" {
		ctx, want = limited(t), codes.FailedPrecondition
	}
	_, err := containersapi.NewContainersClient(c.Conn().(*grpc.ClientConn)).List(ctx, &containersapi.ListContainersRequest{})
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v; want %v: %v", s.daemon.Generation, got, want, err)
	}
}
