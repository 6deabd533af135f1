package manager_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"google.golang.org/grpc"

	"github.com/containerd/containerd/api/types/runc/options"

	"github.com/gantry-containers/gantry/tests/bench/report"
	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat"
)

// calls are how long each call of the API took, in milliseconds, by the order in which they were made first.
type calls struct {
	mu    sync.Mutex // a Wait ends beside others
	order []string
	took  map[string][]float64
}

func (c *calls) add(method string, since time.Time) {
	method = method[strings.LastIndexByte(method[:strings.LastIndexByte(method, '/')], '.')+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.took[method] == nil {
		c.order = append(c.order, method)
	}
	c.took[method] = append(c.took[method], float64(time.Since(since))/float64(time.Millisecond))
}

// unary is a grpc.UnaryClientInterceptor.
//
//nolint:revive // so many arguments has the type
func (c *calls) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	defer c.add(method, time.Now())
	return invoke(ctx, method, req, reply, conn, opts...)
}

// perCall writes how long each call takes of those that run a container by containerd's client in one process, in the
// order of the first: where the time of `ctr run --rm` goes.
func (s both) perCall(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	var c [2]calls
	for i := range s {
		c[i].took = map[string][]float64{}
	}
	for pair := range pairs {
		for turn := range 2 {
			i := (pair + turn) % 2
			runByClient(b, s[i], &c[i])
		}
	}
	fmt.Fprintf(out, "\ncalls of one container, %s: ms, median of %d; times is how often\n%-34s %6s %9s %9s\n", place, pairs, "call", "times", "ours", "peer")
	methods := slices.Compact(append(slices.Clone(c[1].order), slices.Sorted(maps.Keys(c[0].took))...))
	seen := map[string]bool{}
	for _, m := range methods {
		if seen[m] {
			continue
		}
		seen[m] = true
		fmt.Fprintf(out, "%-34s %6.1f %9.2f %9.2f\n", m, float64(len(c[0].took[m]))/float64(pairs), report.Summarize(c[0].took[m]).Median, report.Summarize(c[1].took[m]).Median)
	}
}

// runByClient does what ctr run --rm does.
func runByClient(b *testing.B, s *side.Side, c *calls) {
	b.Helper()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), s.Namespace), time.Minute)
	defer cancel()
	conn, err := client.New(s.Env["CONTAINERD_ADDRESS"], client.WithExtraDialOpts([]grpc.DialOption{grpc.WithUnaryInterceptor(c.unary)}))
	check(b, err)
	defer func() { _ = conn.Close() }()
	begin := time.Now()
	image, err := conn.GetImage(ctx, compat.ImageName)
	check(b, err)
	id := fmt.Sprintf("calls-%d", time.Now().UnixNano())
	container, err := conn.NewContainer(ctx, id, client.WithImage(image), client.WithNewSnapshot(id, image),
		client.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs("true")),
		client.WithRuntime("io.containerd.runc.v2", &options.Options{BinaryName: s.Runtime, Root: s.Env["RUNC_ROOT"]}))
	check(b, err)
	task, err := container.NewTask(ctx, cio.NullIO)
	check(b, err)
	status, err := task.Wait(ctx)
	check(b, err)
	started := time.Now()
	check(b, task.Start(ctx))
	exit := <-status
	c.add("/client/until-it-has-ended", started)
	if exit.ExitCode() != 0 {
		b.Fatalf("%s: %v", s.Name, exit)
	}
	_, err = task.Delete(ctx)
	check(b, err)
	check(b, container.Delete(ctx, client.WithSnapshotCleanup))
	c.add("/client/all", begin)
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
