package manager_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	version "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/harness"
)

// rest lets runtimes give back what they don't need.
func rest() { time.Sleep(3 * time.Second) }

// question is what a manager is asked as soon as it listens.
type question func(ctx context.Context, conn *grpc.ClientConn) error

func askVersion(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := version.NewVersionClient(conn).Version(ctx, &emptypb.Empty{}, grpc.WaitForReady(true))
	return err
}

// askTasks wants all the tasks of a namespace to run.
func askTasks(namespace string, want int) question {
	return func(ctx context.Context, conn *grpc.ClientConn) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
		list, err := tasks.NewTasksClient(conn).List(ctx, &tasks.ListTasksRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return err
		}
		running := 0
		for _, task := range list.GetTasks() {
			if task.GetStatus().String() == "RUNNING" {
				running++
			}
		}
		if running != want {
			return fmt.Errorf("%d of %d tasks run", running, want)
		}
		return nil
	}
}

// start starts a manager that has ended, and waits for the answer.
func start(b *testing.B, s *side.Side, ask question) side.Cost {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(time.Minute))
	defer cancel()
	begin := time.Now()
	if err := s.Launch(); err != nil {
		b.Fatal(err)
	}
	often := backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond}
	conn, err := grpc.NewClient("unix://"+s.Env["CONTAINERD_ADDRESS"], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: often, MinConnectTimeout: time.Second}))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // it has been asked
	if err := ask(ctx, conn); err != nil {
		b.Fatalf("%s: %v", s.Name, err)
	}
	c := side.Cost{Wall: time.Since(begin)}
	s.Count()
	return c
}

// starts measures how soon a manager that has an image and no containers answers.
func (s both) starts(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	side.Pairs(out, "start, "+place, pairs, s.turns(func(s *side.Side) side.Cost {
		s.Stop()
		return start(b, s, askVersion)
	}))
}

// restarts measures how soon a manager that was killed over living containers answers, and knows them all.
func (s both) restarts(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	n := live()
	for i := range s {
		var ids []string
		for range n {
			ids = append(ids, s[i].Sleep())
		}
		defer s[i].Remove(ids...)
	}
	for _, q := range []struct {
		name string
		ask  func(*side.Side) question
	}{
		{"answer", func(*side.Side) question { return askVersion }},
		{"list all", func(s *side.Side) question { return askTasks(s.Namespace, n) }},
	} {
		side.Pairs(out, fmt.Sprintf("%d live: kill -9, %s, %s", n, q.name, place), pairs, s.turns(func(s *side.Side) side.Cost {
			s.Kill()
			return start(b, s, q.ask(s))
		}))
	}
}
