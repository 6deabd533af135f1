package manager_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// failpoints are the calls that containerd's failpoint shim fails in, and how.
var failpoints = struct {
	calls []string
	kinds map[string]string
}{
	calls: []string{"Create", "Start", "State", "Connect", "Pids", "Exec", "Stats", "Pause", "Resume", "Update", "Kill", "Wait", "Delete", "Shutdown"},
	kinds: map[string]string{"error": "2*error(it was told to fail)", "panic": "1*panic(it was told to panic)", "delay": "1*delay(10000)"},
}

// TestFailpoints runs a container through its life under a shim of which one call fails, panics, or takes ten seconds.
// The manager answers each call within limits of its own, others are not kept waiting, a delete that failed can be
// repeated, and nothing is left.
func TestFailpoints(t *testing.T) {
	s := start(t)
	if err := os.Symlink(compat.Newest(t, "containerd-shim-runc-fp-v1"), s.path("bin/containerd-shim-runc-fp-v1")); err != nil {
		t.Fatal(err)
	}
	for kind, action := range failpoints.kinds {
		for _, call := range failpoints.calls {
			t.Run(call+"/"+kind, func(t *testing.T) {
				t.Parallel()
				f := &faulty{subject: s, t: t, id: strings.ToLower(call + "-" + kind)}
				c, _ := s.api()
				f.api = c.TaskService()
				f.live(container{
					id: f.id, script: "sleep 1000", runtime: "io.containerd.runc-fp.v1",
					annotations: map[string]string{"io.containerd.runtime.v2.shim.failpoint." + call: action},
				})
				f.end()
			})
		}
	}
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		for i := range 10 {
			id := fmt.Sprintf("other-%d", i)
			s.run(t, container{id: id, script: "sleep 1000"})
			s.stop(t, id)
		}
	})
}

// faulty is a container whose shim can't be relied on.
type faulty struct {
	*subject
	t     *testing.T
	id    string
	api   tasks.TasksClient
	notes []string // what the calls came to
}

// patience is much more than the manager's limits of ten seconds and less.
const patience = 45 * time.Second

// call makes a call that the manager must answer, with whatever. Its error is of package errdefs.
func (f *faulty) call(name string, do func(ctx context.Context) error) error {
	f.t.Helper()
	_, namespaced := f.subject.api()
	ctx, cancel := context.WithTimeout(namespaced, harness.Limit(patience))
	defer cancel()
	err := errgrpc.ToNative(do(ctx))
	if ctx.Err() != nil {
		f.t.Errorf("%s: no answer within %v", name, harness.Limit(patience))
	}
	if err != nil {
		f.notes = append(f.notes, fmt.Sprintf("%s: %v", name, err))
	}
	return err
}

// live makes all calls that there are.
func (f *faulty) live(c container) {
	f.t.Helper()
	id, api := f.id, f.api
	_ = f.call("create", func(ctx context.Context) error { _, err := f.create(ctx, c); return err })
	_ = f.call("start", func(ctx context.Context) error {
		_, err := api.Start(ctx, &tasks.StartRequest{ContainerID: id})
		return err
	})
	_ = f.call("get", func(ctx context.Context) error {
		_, err := api.Get(ctx, &tasks.GetRequest{ContainerID: id})
		return err
	})
	if err := f.call("list", func(ctx context.Context) error { _, err := api.List(ctx, &tasks.ListTasksRequest{}); return err }); err != nil {
		f.t.Errorf("list: %v", err)
	}
	_ = f.call("pids", func(ctx context.Context) error {
		_, err := api.ListPids(ctx, &tasks.ListPidsRequest{ContainerID: id})
		return err
	})
	_ = f.call("exec", func(ctx context.Context) error {
		spec := &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: process("exit 3")}
		_, err := api.Exec(ctx, &tasks.ExecProcessRequest{ContainerID: id, ExecID: "e", Spec: spec})
		return err
	})
	_ = f.call("start the exec", func(ctx context.Context) error {
		_, err := api.Start(ctx, &tasks.StartRequest{ContainerID: id, ExecID: "e"})
		return err
	})
	if err := f.call("metrics", func(ctx context.Context) error { _, err := api.Metrics(ctx, &tasks.MetricsRequest{}); return err }); err != nil {
		f.t.Errorf("metrics of all: %v", err)
	}
	_ = f.call("pause", func(ctx context.Context) error {
		_, err := api.Pause(ctx, &tasks.PauseTaskRequest{ContainerID: id})
		return err
	})
	_ = f.call("resume", func(ctx context.Context) error {
		_, err := api.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: id})
		return err
	})
	_ = f.call("update", func(ctx context.Context) error {
		spec := &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", Value: []byte("{}")}
		_, err := api.Update(ctx, &tasks.UpdateTaskRequest{ContainerID: id, Resources: spec})
		return err
	})
}

// end kills and deletes it, as often as that takes.
func (f *faulty) end() {
	f.t.Helper()
	last := errors.New("not tried")
	for try := 0; try < 5 && last != nil && !errdefs.IsNotFound(last); try++ {
		_ = f.call("resume", func(ctx context.Context) error {
			_, err := f.api.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: f.id})
			return err
		})
		killed := f.call("kill", func(ctx context.Context) error {
			_, err := f.api.Kill(ctx, &tasks.KillRequest{ContainerID: f.id, Signal: 9})
			return err
		})
		if killed == nil || errdefs.IsNotFound(killed) {
			_ = f.call("wait", func(ctx context.Context) error {
				_, err := f.api.Wait(ctx, &tasks.WaitRequest{ContainerID: f.id})
				return err
			})
		}
		last = f.call("delete", func(ctx context.Context) error {
			answer, err := f.api.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: f.id})
			if err == nil && answer.ExitStatus != 137 && !strings.HasPrefix(f.id, "start-") {
				f.t.Errorf("it ended with %d; want 137", answer.ExitStatus)
			}
			return err
		})
	}
	f.t.Logf("%s", strings.Join(f.notes, "\n"))
	if last != nil && !errdefs.IsNotFound(last) {
		f.t.Errorf("delete: %v", last)
	}
	f.forget(f.t, f.id)
	f.nothingOf(f.t, f.id)
	if !harness.Until(told, func() bool { return len(f.ctr.ShimPIDs(f.id)) == 0 }) {
		f.t.Errorf("left behind: shim %v", f.ctr.ShimPIDs(f.id))
	}
}
