package engine

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// managerPatience is how long a call waits for a manager that is away: one that died is back in a moment.
	managerPatience = 5 * time.Second
	managerPoll     = 20 * time.Millisecond
)

// patient are the options of the connection to the manager. A call that could not even be sent, because the manager is
// being started again, is made again for a while. One that was sent is not: it may have been done.
func patient() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return retry(ctx, cc, func() error { return invoke(ctx, method, req, reply, cc, opts...) })
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (s grpc.ClientStream, err error) {
			err = retry(ctx, cc, func() (err error) {
				s, err = open(ctx, desc, cc, method, opts...)
				return err
			})
			return s, err
		}),
	}
}

func retry(ctx context.Context, cc *grpc.ClientConn, call func() error) error {
	err := call()
	for end := time.Now().Add(managerPatience); unsent(err) && time.Now().Before(end); err = call() {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(managerPoll):
		}
		cc.ResetConnectBackoff() // gRPC would wait for longer and longer.
	}
	return err
}

// unsent says that there was nobody to send a call to.
func unsent(err error) bool {
	return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "rror while dialing")
}
