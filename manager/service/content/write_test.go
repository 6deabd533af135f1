package content_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	api "github.com/containerd/containerd/api/services/content/v1"
	core "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"

	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

const (
	stat   = api.WriteAction_STAT
	write  = api.WriteAction_WRITE
	commit = api.WriteAction_COMMIT
)

// TestWriteErrors sends each row's requests in one stream; only the last is refused.
func TestWriteErrors(t *testing.T) {
	client, _ := serve(t)
	data := unique(100)
	right := digest.FromBytes(data).String()
	wrong := digest.FromBytes(unique(100)).String()
	exists := unique(50)
	type requests []*api.WriteContentRequest
	var rows []servicetest.Row
	for _, c := range []struct {
		name     string
		requests requests
		want     codes.Code
		real     codes.Code
		ours     bool
	}{
		{name: "without ref", requests: requests{{Action: stat}}, want: codes.InvalidArgument},
		{name: "garbage expected", requests: requests{{Action: write, Ref: "a1", Expected: "garbage", Data: data}}, want: codes.InvalidArgument, ours: true},
		{name: "short digest expected", requests: requests{{Action: write, Ref: "a2", Expected: "sha256:abc", Data: data}}, want: codes.InvalidArgument, ours: true},
		{name: "gap", requests: requests{{Action: stat, Ref: "a3"}, {Action: write, Offset: 5, Data: data}}, want: codes.OutOfRange},
		{name: "overlap", requests: requests{{Action: write, Ref: "a4", Data: data}, {Action: write, Offset: 50, Data: data}}, want: codes.OutOfRange},
		{name: "negative offset", requests: requests{{Action: write, Ref: "a5", Data: data}, {Action: write, Offset: -1, Data: data}}, want: codes.InvalidArgument, ours: true},
		{name: "negative total", requests: requests{{Action: write, Ref: "a6", Total: -1, Data: data}}, want: codes.InvalidArgument, ours: true},
		{name: "wrong digest", requests: requests{{Action: write, Ref: "a7", Data: data}, {Action: commit, Offset: 100, Expected: wrong}}, want: codes.FailedPrecondition},
		{name: "too short", requests: requests{{Action: write, Ref: "a8", Data: data}, {Action: commit, Offset: 100, Total: 101}}, want: codes.FailedPrecondition},
		{name: "too long", requests: requests{{Action: write, Ref: "a9", Data: data}, {Action: commit, Offset: 100, Total: 99}}, want: codes.FailedPrecondition},
		{name: "unknown action", requests: requests{{Action: 7, Ref: "b1"}}, want: codes.InvalidArgument, ours: true},
		{name: "long label", requests: requests{{Action: write, Ref: "b2", Data: data}, {Action: commit, Offset: 100, Labels: map[string]string{"a": string(make([]byte, 5000))}}}, want: codes.InvalidArgument},
		{name: "right", requests: requests{{Action: stat, Ref: "b3", Total: 100, Expected: right}, {Action: write, Data: data}, {Action: commit, Offset: 100}}},
		{name: "right again", requests: requests{{Action: stat, Ref: "b4", Total: 100, Expected: right}}, want: codes.AlreadyExists},
		{name: "found at the commit", requests: requests{{Action: write, Ref: "b5", Data: exists}, {Action: commit, Offset: 50, Expected: right}}, want: codes.AlreadyExists},
		{name: "one message", requests: requests{{Action: commit, Ref: "b6", Data: exists}}},
		{name: "huge ref", requests: requests{{Action: stat, Ref: string(bytes.Repeat([]byte("x"), 40000))}}, want: codes.InvalidArgument, ours: true},
	} {
		rows = append(rows, servicetest.Row{Name: c.name, Want: c.want, Real: c.real, Ours: c.ours, Call: func(ctx context.Context) error {
			stream, err := client.Write(ctx)
			if err != nil {
				return err
			}
			for i, r := range c.requests {
				if err := stream.Send(r); err != nil {
					t.Errorf("request %d: %v", i, err)
				}
				if _, err = stream.Recv(); err != nil && i < len(c.requests)-1 {
					t.Errorf("request %d: %v", i, err)
				}
			}
			if err != nil {
				return err
			}
			return stream.CloseSend()
		}})
	}
	rows = append(rows, servicetest.Row{Name: "in no namespace", Want: codes.FailedPrecondition, Call: func(context.Context) error {
		_, err := core.OpenWriter(t.Context(), proxy.NewContentStore(client), core.WithRef("c1"))
		return err
	}})
	servicetest.Run(t, rows)
}

func TestWriteLife(t *testing.T) {
	client, _ := serve(t)
	ctx := servicetest.Context(t)
	store := proxy.NewContentStore(client)
	data := unique(3 << 20)
	desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}

	w, err := store.Writer(ctx, core.WithRef("ref"), core.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	half := len(data) / 2
	if n, err := w.Write(data[:half]); err != nil || n != half {
		t.Fatalf("wrote %d of %d: %v", n, half, err)
	}
	// While one has it, nobody else gets it.
	if _, err := store.Writer(ctx, core.WithRef("ref"), core.WithDescriptor(desc)); !errdefs.IsUnavailable(err) {
		t.Errorf("a second writer of the ref: %v", err)
	}
	status, err := store.Status(ctx, "ref")
	if err != nil {
		t.Fatal(err)
	}
	if status.Ref != "ref" || status.Offset != int64(half) || status.Total != desc.Size || status.StartedAt.IsZero() {
		t.Errorf("status %+v", status)
	}
	all, err := store.ListStatuses(ctx, `ref=="ref"`)
	if err != nil || len(all) != 1 {
		t.Errorf("statuses %v, %v", all, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	// What was written can be continued.
	w, err = core.OpenWriter(ctx, store, core.WithRef("ref"), core.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if status, err := w.Status(); err != nil || status.Offset != int64(half) {
		t.Fatalf("status %+v, %v: want offset %d", status, err, half)
	}
	if _, err := w.Write(data[half:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx, desc.Size, desc.Digest, core.WithLabels(map[string]string{"a": "b"})); err != nil {
		t.Fatal(err)
	}
	info, err := store.Info(ctx, desc.Digest)
	if err != nil || info.Size != desc.Size {
		t.Fatalf("info %+v, %v", info, err)
	}
	if d := cmp.Diff(map[string]string{"a": "b"}, info.Labels); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
	if _, err := store.Status(ctx, "ref"); !errdefs.IsNotFound(err) {
		t.Errorf("status after the commit: %v", err)
	}
}

// Offset 0 begins anew.
func TestWriteTruncate(t *testing.T) {
	client, _ := serve(t)
	ctx := servicetest.Context(t)
	store := proxy.NewContentStore(client)
	data := unique(1000)
	w, err := store.Writer(ctx, core.WithRef("ref"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(unique(500)); err != nil {
		t.Fatal(err)
	}
	if err := w.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx, 1000, digest.FromBytes(data)); err != nil {
		t.Error(err)
	}
}

func TestAbort(t *testing.T) {
	client, _ := serve(t)
	ctx := servicetest.Context(t)
	store := proxy.NewContentStore(client)
	w, err := store.Writer(ctx, core.WithRef("ref"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(unique(500)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Abort(ctx, "ref"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Status(ctx, "ref"); !errdefs.IsNotFound(err) {
		t.Errorf("status after the abort: %v", err)
	}
}

// Each request has one answer, and the last is the end.
func TestWriteAnswers(t *testing.T) {
	client, _ := serve(t)
	stream, err := client.Write(servicetest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	data := unique(10)
	for _, c := range []struct {
		request *api.WriteContentRequest
		offset  int64
	}{
		{&api.WriteContentRequest{Action: stat, Ref: "ref", Total: 20}, 0},
		{&api.WriteContentRequest{Action: write, Data: data}, 10},
		{&api.WriteContentRequest{Action: stat}, 10},
		{&api.WriteContentRequest{Action: write, Offset: 10, Data: data}, 20},
		{&api.WriteContentRequest{Action: commit, Offset: 20}, 20},
	} {
		if err := stream.Send(c.request); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if answer.Action != c.request.Action || answer.Offset != c.offset {
			t.Errorf("%v: action %v at %d, want %d", c.request, answer.Action, answer.Offset, c.offset)
		}
		if c.request.Action == stat && (answer.Total != 20 || !answer.StartedAt.IsValid()) {
			t.Errorf("%v: %v", c.request, answer)
		}
		if want := digest.FromBytes(append(data, data...)).String(); c.offset == 20 && answer.Digest != want {
			t.Errorf("digest %s, want %s", answer.Digest, want)
		}
	}
	if servicetest.Oracle() {
		return // it says the last answer twice
	}
	if m, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the commit: %v, %v", m, err)
	}
}
