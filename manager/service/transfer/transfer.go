package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	api "github.com/containerd/containerd/api/services/transfer/v1"
	transfertypes "github.com/containerd/containerd/api/types/transfer"
	"github.com/containerd/containerd/v2/core/streaming"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/plugins"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Service answers requests to pull, push, import, export, tag and so on: whatever goes from one place to another.
type Service struct {
	api.UnimplementedTransferServer
	transferrer transfer.Transferrer
	streams     streaming.StreamGetter
}

// New makes the service. Archives, progress and credentials travel in streams that the client has opened before.
func New(transferrer transfer.Transferrer, streams streaming.StreamGetter) *Service {
	return &Service{transferrer: transferrer, streams: streams}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterTransferServer(server, s) }

// Transfer returns when everything is at its destination. It ends the streams that were used for it: a client that
// receives an archive learns from the end of its stream that it has all of it.
func (s *Service) Transfer(ctx context.Context, r *api.TransferRequest) (*emptypb.Empty, error) {
	streams := &used{getter: s.streams}
	defer streams.close()
	var opts []transfer.Opt
	if name := r.GetOptions().GetProgressStream(); name != "" {
		stream, err := streams.Get(ctx, name)
		if err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("progress: %w", err))
		}
		opts = append(opts, transfer.WithProgress(report(ctx, stream)))
	}
	source, err := decode(ctx, streams, r.Source)
	if err == nil {
		err = pullable(source)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("source: %w", err))
	}
	destination, err := decode(ctx, streams, r.Destination)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("destination: %w", err))
	}
	if err := s.transferrer.Transfer(ctx, source, destination, opts...); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// report sends progress to a client. One that reads none any more does not stop the transfer.
func report(ctx context.Context, stream streaming.Stream) transfer.ProgressFunc {
	return func(p transfer.Progress) {
		message := &transfertypes.Progress{
			Event:    p.Event,
			Name:     p.Name,
			Parents:  p.Parents,
			Progress: p.Progress,
			Total:    p.Total,
		}
		if p.Desc != nil {
			message.Desc = oci.DescriptorToProto(*p.Desc)
		}
		a, err := typeurl.MarshalAny(message)
		if err == nil {
			err = stream.Send(a)
		}
		if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			slog.WarnContext(ctx, "progress is not sent", "event", p.Event, "name", p.Name, "error", err)
		}
	}
}

// streamed is a message that needs the streams that it names.
type streamed interface {
	UnmarshalAny(ctx context.Context, streams streaming.StreamGetter, a typeurl.Any) error
}

func decode(ctx context.Context, streams streaming.StreamGetter, a *anypb.Any) (any, error) {
	if a.GetTypeUrl() == "" {
		return nil, fmt.Errorf("not given: %w", errdefs.ErrInvalidArgument)
	}
	known, err := plugins.ResolveType(a)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("nothing is transferred from or to a %s: %w", a.TypeUrl, errdefs.ErrNotImplemented)
	}
	if err != nil {
		return nil, err
	}
	if with, ok := known.(streamed); ok {
		err = with.UnmarshalAny(ctx, streams, a)
	} else {
		err = typeurl.UnmarshalTo(a, known)
	}
	if err != nil {
		return nil, invalid(err)
	}
	return known, nil
}

// pullable refuses a registry's reference that cannot be pulled: the resolver's errors for it have no type.
func pullable(source any) error {
	remote, ok := source.(*registry.OCIRegistry)
	if !ok {
		return nil
	}
	spec, err := reference.Parse(remote.Image())
	if err == nil && spec.Object == "" {
		err = reference.ErrObjectRequired
	}
	if err != nil {
		return fmt.Errorf("reference %q: %w: %w", remote.Image(), err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// invalid gives a type to errors of decoding, which have none.
func invalid(err error) error {
	if errors.Is(errgrpc.ToNative(errgrpc.ToGRPC(err)), errdefs.ErrUnknown) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}
