package introspection

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	api "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/shim"
)

// runtimes knows one runtime.
type runtimes struct{}

func (runtimes) Info(_ context.Context, r shim.Request) (*types.RuntimeInfo, error) {
	if r.Runtime != "io.containerd.known.v1" {
		return nil, fmt.Errorf("runtime %s: %w", r.Runtime, errdefs.ErrNotFound)
	}
	return &types.RuntimeInfo{Name: r.Runtime}, nil
}

func newService(t *testing.T, root string) *Service {
	t.Helper()
	s, err := New(root, Plugins(Facts{Root: root, Snapshotters: []Snapshotter{
		{Name: "overlayfs", Exports: map[string]string{"root": root + "/o"}, Capabilities: []string{"rebase"}},
		{Name: "native"},
	}}), runtimes{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestIdentity(t *testing.T) {
	root := t.TempDir()
	identify := func() string {
		t.Helper()
		r, err := newService(t, root).Server(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Pid != uint64(os.Getpid()) || r.Pidns == 0 || len(r.UUID) != 36 {
			t.Fatalf("Server: %v", r)
		}
		return r.UUID
	}
	first := identify()
	if again := identify(); again != first {
		t.Errorf("identity was %s, is %s", first, again)
	}
	path := filepath.Join(root, "io.containerd.grpc.v1.introspection/uuid")
	for _, torn := range []string{"", first[:7]} {
		if err := os.WriteFile(path, []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		if made := identify(); made != identify() {
			t.Errorf("after a torn file the identity changes")
		}
	}
	// One that containerd has made stays.
	const theirs = "fbb81efc-8d36-4343-ae83-2e0bb57689b5"
	if err := os.WriteFile(path, []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := identify(); got != theirs {
		t.Errorf("identity %s, want that of the file, %s", got, theirs)
	}
}

func TestPlugins(t *testing.T) {
	s := newService(t, t.TempDir())
	for _, c := range []struct {
		filters []string
		want    []string
	}{
		// What dockerd 29 and BuildKit ask.
		{[]string{"type==io.containerd.snapshotter.v1"}, []string{"native", "overlayfs"}},
		{[]string{"type==io.containerd.snapshotter.v1,id==overlayfs"}, []string{"overlayfs"}},
		{[]string{"type~=io.containerd.runtime.v1", "type~=io.containerd.runtime.v2"}, []string{"task"}},
		{[]string{"type==io.containerd.differ.v1"}, []string{"walking"}},
		{[]string{"id==cri"}, nil},
	} {
		r, err := s.Plugins(t.Context(), &api.PluginsRequest{Filters: c.filters})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range r.Plugins {
			ids = append(ids, p.ID)
		}
		if d := cmp.Diff(c.want, ids); d != "" {
			t.Errorf("%q: %s", c.filters, d)
		}
	}
	all, err := s.Plugins(t.Context(), &api.PluginsRequest{})
	if err != nil || len(all.Plugins) != len(s.plugins) {
		t.Errorf("without a filter: %d of %d, %v", len(all.GetPlugins()), len(s.plugins), err)
	}
	if _, err := s.Plugins(t.Context(), &api.PluginsRequest{Filters: []string{"type=="}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a filter that is none: %v", err)
	}
	for _, p := range all.Plugins {
		for _, type_ := range p.Requires {
			r, err := s.Plugins(t.Context(), &api.PluginsRequest{Filters: []string{"type==" + type_}})
			if err != nil || len(r.Plugins) == 0 {
				t.Errorf("%s.%s requires %s, which is not there: %v", p.Type, p.ID, type_, err)
			}
		}
	}
}

func TestPluginInfo(t *testing.T) {
	s := newService(t, t.TempDir())
	options := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	known := options(&types.RuntimeRequest{RuntimePath: "io.containerd.known.v1"})
	short := &anypb.Any{TypeUrl: "containerd.types.RuntimeRequest", Value: known.Value}
	for name, c := range map[string]struct {
		request *api.PluginInfoRequest
		code    codes.Code
		extra   bool
	}{
		"no options":      {&api.PluginInfoRequest{Type: "io.containerd.grpc.v1", ID: "tasks"}, codes.OK, false},
		"unknown":         {&api.PluginInfoRequest{Type: "io.containerd.grpc.v1", ID: "cri"}, codes.NotFound, false},
		"runtime":         {&api.PluginInfoRequest{Type: "io.containerd.runtime.v2", ID: "task", Options: known}, codes.OK, true},
		"short type":      {&api.PluginInfoRequest{Type: "io.containerd.runtime.v2", ID: "task", Options: short}, codes.OK, true},
		"unknown runtime": {&api.PluginInfoRequest{Type: "io.containerd.runtime.v2", ID: "task", Options: options(&types.RuntimeRequest{RuntimePath: "x"})}, codes.NotFound, false},
		"other options":   {&api.PluginInfoRequest{Type: "io.containerd.runtime.v2", ID: "task", Options: options(&types.RuntimeInfo{})}, codes.InvalidArgument, false},
		"garbage":         {&api.PluginInfoRequest{Type: "io.containerd.runtime.v2", ID: "task", Options: &anypb.Any{TypeUrl: short.TypeUrl, Value: []byte{1}}}, codes.InvalidArgument, false},
		"nothing to tell": {&api.PluginInfoRequest{Type: "io.containerd.grpc.v1", ID: "tasks", Options: known}, codes.Unimplemented, false},
	} {
		r, err := s.PluginInfo(t.Context(), c.request)
		if status.Code(err) != c.code || (r.GetExtra() != nil) != c.extra {
			t.Errorf("%s: %v, %v", name, r, err)
			continue
		}
		if c.extra && (r.Extra.TypeUrl != "containerd.types.RuntimeInfo" || r.Plugin.GetID() != "task") {
			t.Errorf("%s: %v", name, r)
		}
	}
}
