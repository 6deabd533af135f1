package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	api "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

// Write writes a blob: each request says what to do with the writer that the first one opened, and each has an answer
// with the offset after it. What was written is kept when the client goes away without a commit, and can be continued
// under the same ref.
func (s *Service) Write(stream api.Content_WriteServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	w := &write{store: s.store, ref: first.Ref}
	if err := w.open(stream.Context(), first); err != nil {
		return errgrpc.ToGRPC(err)
	}
	defer w.writer.Close() // after a commit it is closed; before one, what is written is in the store

	for r := first; ; {
		answer, err := w.do(stream.Context(), r)
		if err != nil {
			return errgrpc.ToGRPC(err)
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		if r.Action == api.WriteAction_COMMIT {
			return nil
		}
		r, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write is one blob on its way into the store.
type write struct {
	store    content.Store
	ref      string
	writer   content.Writer
	total    int64         // 0: not known
	expected digest.Digest // empty: not known
}

// open takes the lock of the ref, which the writer has until it is closed.
func (w *write) open(ctx context.Context, r *api.WriteContentRequest) error {
	if w.ref == "" {
		return fmt.Errorf("first message must have a reference: %w", errdefs.ErrInvalidArgument)
	}
	if err := names.Check("ref", w.ref); err != nil {
		return err
	}
	if err := w.expect(r); err != nil {
		return err
	}
	var err error
	w.writer, err = w.store.Writer(ctx,
		content.WithRef(w.ref), content.WithDescriptor(ocispec.Descriptor{Size: w.total, Digest: w.expected}))
	return err
}

// expect notes what a request says of the whole blob. A later request may correct an earlier one: the commit decides.
func (w *write) expect(r *api.WriteContentRequest) error {
	if r.Total < 0 || r.Offset < 0 {
		return fmt.Errorf("negative total %d or offset %d: %w", r.Total, r.Offset, errdefs.ErrInvalidArgument)
	}
	if r.Total > 0 {
		w.total = r.Total
	}
	if r.Expected == "" {
		return nil
	}
	var err error
	w.expected, err = parse(r.Expected)
	return err
}

func (w *write) do(ctx context.Context, r *api.WriteContentRequest) (*api.WriteContentResponse, error) {
	if err := w.expect(r); err != nil {
		return nil, err
	}
	if err := w.exists(ctx, r); err != nil {
		return nil, err
	}
	status, err := w.writer.Status()
	if err != nil {
		return nil, err
	}
	answer := &api.WriteContentResponse{Action: r.Action, Offset: status.Offset}
	switch r.Action {
	case api.WriteAction_STAT:
		answer.StartedAt = timestamppb.New(status.StartedAt)
		answer.UpdatedAt = timestamppb.New(status.UpdatedAt)
		answer.Total = w.total
	case api.WriteAction_WRITE, api.WriteAction_COMMIT:
		if answer.Offset, err = w.append(r, status.Offset); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("write action %v: %w", r.Action, errdefs.ErrInvalidArgument)
	}
	if r.Action == api.WriteAction_COMMIT {
		if err := w.commit(ctx, r); err != nil {
			return nil, err
		}
	}
	answer.Digest = w.writer.Digest().String()
	return answer, nil
}

// exists ends the writing of a blob that somebody else has brought in the meantime.
func (w *write) exists(ctx context.Context, r *api.WriteContentRequest) error {
	if r.Expected == "" {
		return nil
	}
	if _, err := w.store.Info(ctx, w.expected); err != nil {
		return nil //nolint:nilerr // whatever the reason is, writing goes on, and the commit says what is wrong
	}
	err := errors.Join(w.writer.Close(), w.store.Abort(ctx, w.ref))
	if err != nil && !errdefs.IsNotFound(err) {
		slog.WarnContext(ctx, "what was written of a blob that exists is not removed", "ref", w.ref, "error", err)
	}
	return fmt.Errorf("blob with expected digest %v exists: %w", w.expected, errdefs.ErrAlreadyExists)
}

// append writes the data of r, and returns the offset after it. Offset 0 begins anew; any other must be where the
// writer is.
func (w *write) append(r *api.WriteContentRequest, at int64) (int64, error) {
	if r.Offset > 0 && r.Offset != at {
		return 0, fmt.Errorf("write @%v must occur at current offset %v: %w", r.Offset, at, errdefs.ErrOutOfRange)
	}
	if r.Offset == 0 && at > 0 {
		if err := w.writer.Truncate(0); err != nil {
			return 0, fmt.Errorf("truncate failed: %w", err)
		}
		at = 0
	}
	if len(r.Data) == 0 {
		return at, nil
	}
	n, err := w.writer.Write(r.Data)
	if err != nil {
		return 0, err
	}
	if n != len(r.Data) {
		return 0, fmt.Errorf("wrote %v of %v bytes: %w", n, len(r.Data), errdefs.ErrDataLoss)
	}
	return at + int64(n), nil
}

func (w *write) commit(ctx context.Context, r *api.WriteContentRequest) error {
	if err := names.Keys("label", r.Labels); err != nil {
		return err
	}
	var opts []content.Opt
	if r.Labels != nil {
		opts = append(opts, content.WithLabels(r.Labels))
	}
	return w.writer.Commit(ctx, w.total, w.expected, opts...)
}
