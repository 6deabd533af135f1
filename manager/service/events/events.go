package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	api "github.com/containerd/containerd/api/services/events/v1"
	ttrpcapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventlog "github.com/gantry-containers/gantry/manager/events"
	"github.com/gantry-containers/gantry/manager/peer"
)

// What a client of ours may say and read beyond containerd's API.
const (
	// SinceKey is in the metadata of a Subscribe: the number of the first event wanted. The answer is OutOfRange if
	// the log does not have it.
	SinceKey = "gantry-events-since"
	// LastKey is in the header of the answer to a Subscribe: the number of the newest event when it began.
	LastKey = "gantry-events-last"
	// SequenceField is the field of an Envelope with the event's number, a varint. Envelope has no such field: clients
	// that do not know it skip it, as protobuf has them do.
	SequenceField protowire.Number = 1000
)

// Service answers the events service, for clients and for shims.
type Service struct {
	api.UnimplementedEventsServer

	log       *eventlog.Log
	forwarder events.Forwarder
}

// New makes the service. Events that are forwarded go to forwarder, which sees to it that they come into the log.
func New(log *eventlog.Log, forwarder events.Forwarder) *Service {
	return &Service{log: log, forwarder: forwarder}
}

// Register puts the service for clients on a server.
func (s *Service) Register(server grpc.ServiceRegistrar) { api.RegisterEventsServer(server, s) }

// RegisterTTRPC puts the service for shims on a server.
func (s *Service) RegisterTTRPC(server *ttrpc.Server) {
	ttrpcapi.RegisterTTRPCEventsService(server, shims{s.forwarder})
}

// Publish appends an event of the caller's own, in the namespace of its metadata.
func (s *Service) Publish(ctx context.Context, r *api.PublishRequest) (*emptypb.Empty, error) {
	if err := s.log.Publish(ctx, r.GetTopic(), r.GetEvent()); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Forward takes an event that somebody else made: shims of old generations bring theirs here through `containerd publish`.
func (s *Service) Forward(ctx context.Context, r *api.ForwardRequest) (*emptypb.Empty, error) {
	if err := forward(ctx, s.forwarder, r.GetEnvelope()); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Subscribe sends events until the client goes away or the log is closed.
func (s *Service) Subscribe(r *api.SubscribeRequest, stream api.Events_SubscribeServer) error {
	if err := s.subscribe(r, stream); err != nil {
		return errgrpc.ToGRPC(err)
	}
	return nil
}

func (s *Service) subscribe(r *api.SubscribeRequest, stream api.Events_SubscribeServer) error {
	ctx := stream.Context()
	since, err := sinceOf(ctx)
	if err != nil {
		return err
	}
	last := s.log.Last()
	sub, err := s.log.Read(ctx, eventlog.Start{Filters: r.GetFilters(), Subscriber: peer.Process(ctx), Since: since})
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := stream.SendHeader(metadata.Pairs(LastKey, strconv.FormatUint(last, 10))); err != nil {
		return fmt.Errorf("answer to subscriber: %w", err)
	}
	for {
		record, err := sub.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(toProto(record)); err != nil {
			return fmt.Errorf("send event %d: %w", record.Sequence, err)
		}
		sub.Sent(record.Sequence)
	}
}

// sinceOf is the number that the client asks for; 0: none.
func sinceOf(ctx context.Context) (uint64, error) {
	values := metadata.ValueFromIncomingContext(ctx, SinceKey)
	if len(values) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil || n == 0 || len(values) > 1 {
		return 0, fmt.Errorf("%s: %q is not one number from 1 on: %w", SinceKey, values, errdefs.ErrInvalidArgument)
	}
	return n, nil
}

// shims is the service on the shims' socket.
type shims struct{ forwarder events.Forwarder }

// Forward takes an event of a shim.
func (s shims) Forward(ctx context.Context, r *ttrpcapi.ForwardRequest) (*emptypb.Empty, error) {
	if err := forward(ctx, s.forwarder, r.GetEnvelope()); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func forward(ctx context.Context, to events.Forwarder, e *types.Envelope) error {
	if e == nil {
		return fmt.Errorf("no envelope: %w", errdefs.ErrInvalidArgument)
	}
	event := e.GetEvent()
	if event == nil {
		event = &anypb.Any{}
	}
	return to.Forward(ctx, &events.Envelope{
		Timestamp: e.GetTimestamp().AsTime(),
		Namespace: e.GetNamespace(),
		Topic:     e.GetTopic(),
		Event:     event,
	})
}

func toProto(r eventlog.Record) *types.Envelope {
	e := &types.Envelope{
		Timestamp: timestamppb.New(r.Timestamp),
		Namespace: r.Namespace,
		Topic:     r.Topic,
	}
	if r.Event.GetTypeUrl() != "" || len(r.Event.GetValue()) > 0 { // an event without content stays without
		e.Event = &anypb.Any{TypeUrl: r.Event.GetTypeUrl(), Value: r.Event.GetValue()}
	}
	number := protowire.AppendTag(nil, SequenceField, protowire.VarintType)
	e.ProtoReflect().SetUnknown(protowire.AppendVarint(number, r.Sequence))
	return e
}
