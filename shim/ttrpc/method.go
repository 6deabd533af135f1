package ttrpc

import "context"

// Message is a message of shim/api.
type Message interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT(data []byte) error
}

// Method answers one request. Its context ends with the caller's time limit, and when the connection is lost.
type Method func(ctx context.Context, payload []byte) (Message, error)

// Unary makes a Method of a function that takes and returns typed messages.
func Unary[Req any, P interface {
	*Req
	Message
}, R Message](answer func(context.Context, P) (R, error)) Method {
	return func(ctx context.Context, payload []byte) (Message, error) {
		request := P(new(Req))
		if err := request.UnmarshalVT(payload); err != nil {
			return nil, Errorf(InvalidArgument, "the request: %w", err)
		}
		return answer(ctx, request)
	}
}
