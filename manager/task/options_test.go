package task

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/shim"
)

func packed(t *testing.T, v any) *anypb.Any {
	t.Helper()
	a, err := typeurl.MarshalAnyToProto(v)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func runtimeFeatures(t *testing.T, f *features.Features) *anypb.Any {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: featuresType, Value: text}
}

func TestPlan(t *testing.T) {
	own := packed(t, &options.Options{BinaryName: "container's"})
	asked := packed(t, &options.Options{BinaryName: "task's"})
	criu := packed(t, &options.Options{CriuImagePath: "/cp"})
	old := packed(t, &options.Options{TaskApiAddress: "ttrpc+unix:///old", TaskApiVersion: 3}) //nolint:staticcheck // clients of containerd 2.0 to 2.2 use it
	container := containers.Container{Runtime: containers.RuntimeInfo{Name: "io.containerd.runc.v2", Options: own}}
	for name, c := range map[string]struct {
		container containers.Container
		request   *tasks.CreateTaskRequest
		want      plan
	}{
		"the container's": {container, &tasks.CreateTaskRequest{}, plan{runtime: shim.Request{Runtime: "io.containerd.runc.v2", Options: own}}},
		"the default":     {containers.Container{}, &tasks.CreateTaskRequest{}, plan{runtime: shim.Request{Runtime: "default"}}},
		"the request's": {
			container, &tasks.CreateTaskRequest{Options: asked, RuntimePath: "/shim"},
			plan{runtime: shim.Request{Runtime: "/shim", Options: asked}},
		},
		"empty options": {
			container, &tasks.CreateTaskRequest{Options: &anypb.Any{TypeUrl: asked.TypeUrl}},
			plan{runtime: shim.Request{Runtime: "io.containerd.runc.v2", Options: own}},
		},
		"a checkpoint": {
			container, &tasks.CreateTaskRequest{Options: criu},
			plan{runtime: shim.Request{Runtime: "io.containerd.runc.v2", Options: criu}, checkpoint: "/cp"},
		},
		"a checkpoint of other tools": {
			container, &tasks.CreateTaskRequest{Checkpoint: &types.Descriptor{Annotations: map[string]string{"RestoreFromPath": "/p"}}},
			plan{runtime: shim.Request{Runtime: "io.containerd.runc.v2", Options: own}, checkpoint: "/p", unpack: true},
		},
		"an address": {
			container, &tasks.CreateTaskRequest{TaskApiAddress: "ttrpc+unix:///a", TaskApiVersion: 2, Options: old},
			plan{runtime: shim.Request{Runtime: "io.containerd.runc.v2", Options: old}, address: "ttrpc+unix:///a", version: 2},
		},
		"an address in the options": {
			container, &tasks.CreateTaskRequest{Options: old},
			plan{runtime: shim.Request{Runtime: "io.containerd.runc.v2", Options: old}, address: "ttrpc+unix:///old", version: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newPlan(&c.container, c.request, "default")
			if err != nil {
				t.Fatal(err)
			}
			got.request = nil
			compare := cmp.Options{cmp.AllowUnexported(plan{}), cmp.Comparer(func(a, b *anypb.Any) bool { return proto.Equal(a, b) })}
			if diff := cmp.Diff(c.want, got, compare); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, bad := range map[string]*anypb.Any{
		"no options":   packed(t, &options.CheckpointOptions{}),
		"unknown type": {TypeUrl: "nobody.knows", Value: []byte{1}},
		"garbage":      {TypeUrl: asked.TypeUrl, Value: []byte{0xff}},
	} {
		if _, err := newPlan(&container, &tasks.CreateTaskRequest{Options: bad}, ""); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIDMappedMounts(t *testing.T) {
	yes, no := true, false
	with := func(enabled *bool) *anypb.Any {
		f := &features.Features{Linux: &features.Linux{MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: enabled}}}}
		return runtimeFeatures(t, f)
	}
	const mapped = `{"mounts":[{"destination":"/d","options":["idmap"]}]}`
	const mappings = `{"mounts":[{"destination":"/d","uidMappings":[{"containerID":0,"hostID":1,"size":1}]}]}`
	for name, c := range map[string]struct {
		spec     string
		features *anypb.Any
		asked    bool
		ok       bool
	}{
		"none":               {`{"linux":{"uidMappings":[]}}`, nil, false, true},
		"supported":          {mapped, with(&yes), true, true},
		"not supported":      {mapped, with(&no), true, false},
		"not said":           {mappings, runtimeFeatures(t, &features.Features{}), true, false},
		"another kind":       {mappings, packed(t, &options.Options{}), true, true},
		"mappings supported": {mappings, with(&yes), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.shims.features = c.features
			w.containers.set(containers.Container{ID: "a", Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: []byte(c.spec)}})
			_, err := w.m.Create(w.ctx, &tasks.CreateTaskRequest{ContainerID: "a"})
			if (err == nil) != c.ok || err != nil && !errdefs.IsFailedPrecondition(err) {
				t.Error(err)
			}
			asked := false
			for _, call := range w.shims.called() {
				asked = asked || call == "info"
			}
			if asked != c.asked {
				t.Errorf("the runtime was asked: %v", asked)
			}
			if err != nil {
				w.nothingLeft()
			}
		})
	}
}

// A checkpoint goes into the content store, and a task is made from it.
func TestCheckpoint(t *testing.T) {
	w := newWorld(t)
	store, err := local.NewStore(filepath.Join(t.TempDir(), "content"))
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", temp)
	w.m.cfg.Content = store
	w.run("a")
	r, err := w.m.Checkpoint(w.ctx, &tasks.CheckpointTaskRequest{ContainerID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Descriptors) != 2 || r.Descriptors[0].MediaType != images.MediaTypeContainerd1Checkpoint || r.Descriptors[0].Size == 0 ||
		r.Descriptors[1].MediaType != images.MediaTypeContainerd1CheckpointConfig {
		t.Fatal(r)
	}
	w.told("checkpointed a")
	w.container("b")
	var restored []byte
	w.shims.on("Start", func(s *fakeShim) (err error) { // shims restore no sooner
		restored, err = os.ReadFile(filepath.Join(s.checkpoint(), "pages"))
		return err
	})
	if _, err := w.m.Create(w.ctx, &tasks.CreateTaskRequest{ContainerID: "b", Checkpoint: r.Descriptors[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.m.Start(w.ctx, &tasks.StartRequest{ContainerID: "b"}); err != nil {
		t.Fatal(err)
	}
	if len(restored) != 100 {
		t.Errorf("%d bytes were restored", len(restored))
	}
	path := filepath.Join(temp, "given")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	o := packed(t, &options.CheckpointOptions{ImagePath: path})
	if r, err := w.m.Checkpoint(w.ctx, &tasks.CheckpointTaskRequest{ContainerID: "a", Options: o}); err != nil || len(r.Descriptors) != 0 {
		t.Fatal(r, err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) != 1 || left[0].Name() != "given" {
		t.Error("left over:", left, err)
	}
	w.container("c")
	for _, bad := range []*types.Descriptor{
		{MediaType: "text/plain"},
		{MediaType: images.MediaTypeContainerd1Checkpoint, Digest: "sha256:" + strings.Repeat("0", 64), Size: 1},
		r.Descriptors[1],
	} {
		if _, err := w.m.Create(w.ctx, &tasks.CreateTaskRequest{ContainerID: "c", Checkpoint: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 1 {
		t.Error("left over:", left, err)
	}
	w.nothingLeft("a", "b")
}

// A record is what the next manager of another version may read.
func TestRecordForm(t *testing.T) {
	got, err := json.Marshal(record{Stage: alive, Pid: 3})
	if err != nil || string(got) != `{"stage":"alive","pid":3}` {
		t.Errorf("%s, %v", got, err)
	}
}
