package tasks

import (
	"context"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Exec adds a process to a running task and starts it. A failure leaves nothing.
func (s *Service) Exec(ctx context.Context, id, process string, spec *specs.Process, io IO) (pid int, err error) {
	marshaled, err := typeurl.MarshalAnyToProto(spec)
	if err != nil {
		return 0, err
	}
	_, err = s.client.TaskService().Exec(ctx, &tasksapi.ExecProcessRequest{
		ContainerID: id, ExecID: process, Spec: marshaled, Terminal: io.Terminal,
		Stdin: io.Stdin, Stdout: io.Stdout, Stderr: io.Stderr,
	})
	if err != nil {
		return 0, errgrpc.ToNative(err)
	}
	r, err := s.client.TaskService().Start(ctx, &tasksapi.StartRequest{ContainerID: id, ExecID: process})
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		_, _ = s.DeleteExec(undo, id, process) // The first error is the one that the client must read.
		return 0, errgrpc.ToNative(err)
	}
	return int(r.GetPid()), nil
}
