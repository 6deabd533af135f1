package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	api "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

const (
	block = 100     // how many blobs one message of a list has
	chunk = 1 << 20 // how many bytes of a blob one message has
)

// buffers has the chunks of blobs that are longer than one; manifests and configs get what they need.
var buffers = sync.Pool{New: func() any { return new([chunk]byte) }}

// Service answers requests about blobs. Their events are the store's: it makes them for every other user, too.
type Service struct {
	api.UnimplementedContentServer
	store content.Store
}

// New makes the service.
func New(store content.Store) *Service { return &Service{store: store} }

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterContentServer(server, s) }

// Info answers with what is known of a blob.
func (s *Service) Info(ctx context.Context, r *api.InfoRequest) (*api.InfoResponse, error) {
	d, err := parse(r.Digest)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	info, err := s.store.Info(ctx, d)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.InfoResponse{Info: infoToProto(info)}, nil
}

// Update changes the labels that the mask names; without a mask it replaces all.
func (s *Service) Update(ctx context.Context, r *api.UpdateRequest) (*api.UpdateResponse, error) {
	d, err := parse(r.GetInfo().GetDigest())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := names.Keys("label", r.Info.Labels); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	info, err := s.store.Update(ctx, content.Info{
		Digest:    d,
		Size:      r.Info.Size,
		CreatedAt: r.Info.CreatedAt.AsTime(),
		UpdatedAt: r.Info.UpdatedAt.AsTime(),
		Labels:    r.Info.Labels,
	}, r.GetUpdateMask().GetPaths()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.UpdateResponse{Info: infoToProto(info)}, nil
}

// List sends the blobs that match one of the filters, in blocks. They are read to the end before the first is sent, so
// that no slow client keeps a transaction open.
func (s *Service) List(r *api.ListContentRequest, stream api.Content_ListServer) error {
	var all []*api.Info
	err := s.store.Walk(stream.Context(), func(info content.Info) error {
		all = append(all, infoToProto(info))
		return nil
	}, r.Filters...)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	for len(all) > 0 {
		n := min(len(all), block)
		if err := stream.Send(&api.ListContentResponse{Info: all[:n]}); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// Delete forgets a blob in this namespace.
func (s *Service) Delete(ctx context.Context, r *api.DeleteContentRequest) (*emptypb.Empty, error) {
	d, err := parse(r.Digest)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.store.Delete(ctx, d); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Read sends size bytes of a blob from offset, or all that it has after offset if that is less or size is not positive.
func (s *Service) Read(r *api.ReadContentRequest, stream api.Content_ReadServer) error {
	d, err := parse(r.Digest)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	blob, err := s.store.ReaderAt(stream.Context(), ocispec.Descriptor{Digest: d})
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	defer blob.Close()

	offset := max(r.Offset, 0)
	left := blob.Size() - offset
	if left < 0 {
		return errgrpc.ToGRPC(fmt.Errorf("read past object length %d bytes: %w", blob.Size(), errdefs.ErrOutOfRange))
	}
	if r.Size > 0 {
		left = min(left, r.Size)
	}
	return send(stream, io.NewSectionReader(blob, offset, left))
}

func send(stream api.Content_ReadServer, section *io.SectionReader) error {
	var buffer []byte
	if section.Size() < chunk {
		buffer = make([]byte, section.Size())
	} else {
		pooled := buffers.Get().(*[chunk]byte)
		defer buffers.Put(pooled)
		buffer = pooled[:]
	}
	for sent := int64(0); sent < section.Size(); {
		n, err := io.ReadFull(section, buffer[:min(int64(len(buffer)), section.Size()-sent)])
		if err != nil {
			return errgrpc.ToGRPC(fmt.Errorf("reading a blob of which %d bytes are sent: %w", sent, err))
		}
		// The offset counts from the first byte that was asked for, not from the first of the blob: so does containerd.
		if err := stream.Send(&api.ReadContentResponse{Offset: sent, Data: buffer[:n]}); err != nil {
			return err
		}
		sent += int64(n)
	}
	return nil
}

// Status answers with how far the writing of a blob has come.
func (s *Service) Status(ctx context.Context, r *api.StatusRequest) (*api.StatusResponse, error) {
	status, err := s.store.Status(ctx, r.Ref)
	if err != nil {
		return nil, errgrpc.ToGRPCf(err, "could not get status for ref %q", r.Ref)
	}
	return &api.StatusResponse{Status: statusToProto(status)}, nil
}

// ListStatuses answers with how far the writing of all blobs that match one of the filters has come.
func (s *Service) ListStatuses(ctx context.Context, r *api.ListStatusesRequest) (*api.ListStatusesResponse, error) {
	found, err := s.store.ListStatuses(ctx, r.Filters...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := &api.ListStatusesResponse{}
	for _, status := range found {
		answer.Statuses = append(answer.Statuses, statusToProto(status))
	}
	return answer, nil
}

// Abort forgets what was written of a blob. A client that has just ended its Write is faster here than the end of that
// writer, which still writes into the directory that is removed: then it is removed once more.
func (s *Service) Abort(ctx context.Context, r *api.AbortRequest) (*emptypb.Empty, error) {
	err := s.store.Abort(ctx, r.Ref)
	for tries := 0; errors.Is(err, unix.ENOTEMPTY) && tries < 20; tries++ {
		select {
		case <-ctx.Done():
			return nil, errgrpc.ToGRPC(ctx.Err())
		case <-time.After(10 * time.Millisecond):
			err = s.store.Abort(ctx, r.Ref)
		}
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func parse(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", fmt.Errorf("digest %q: %w: %w", s, err, errdefs.ErrInvalidArgument)
	}
	return d, nil
}

func infoToProto(info content.Info) *api.Info {
	return &api.Info{
		Digest:    info.Digest.String(),
		Size:      info.Size,
		CreatedAt: timestamppb.New(info.CreatedAt),
		UpdatedAt: timestamppb.New(info.UpdatedAt),
		Labels:    info.Labels,
	}
}

func statusToProto(status content.Status) *api.Status {
	return &api.Status{
		Ref:       status.Ref,
		Offset:    status.Offset,
		Total:     status.Total,
		Expected:  status.Expected.String(),
		StartedAt: timestamppb.New(status.StartedAt),
		UpdatedAt: timestamppb.New(status.UpdatedAt),
	}
}
