package exec

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
)

// Create notes a process for a running container; Start runs it.
func (s *Service) Create(ref string, req api.ExecCreateRequest) (id string, err error) {
	if len(req.Cmd) == 0 {
		return "", fault.Errorf(errdefs.ErrInvalidArgument, "No exec command specified")
	}
	c, err := s.Records.Get(ref)
	if err != nil {
		return "", err
	}
	if err := running(c, ref); err != nil {
		return "", err
	}
	if req.User != "" {
		if err := s.Builder.User(c, req.User); err != nil {
			return "", fault.As(errdefs.ErrInvalidArgument, err)
		}
	}
	keys, err := Keys(req.DetachKeys)
	if err != nil {
		return "", fmt.Errorf("Invalid escape keys (%s) provided", req.DetachKeys) //nolint:staticcheck // clients know the words
	}
	p := newProcess(record{ID: names.ID(), Container: c.ID, Request: req, DetachKeys: keys})
	s.mu.Lock()
	s.execs[p.ID] = p
	s.mu.Unlock()
	s.save(p.ID)
	s.tell(c, action(apievents.ActionExecCreate, p), p.ID)
	return p.ID, nil
}

// action is an event's name with the command behind it.
func action(a apievents.Action, p *process) apievents.Action {
	return a + ": " + apievents.Action(p.Request.Cmd[0]+" "+strings.Join(p.Request.Cmd[1:], " "))
}

// Inspect tells about an exec. Clients ask once, right after their streams ended: those end when the exit code is known.
func (s *Service) Inspect(id string) (*api.ExecInspectResponse, error) {
	s.mu.Lock()
	p := s.execs[id]
	s.mu.Unlock()
	if p == nil {
		return nil, notFound(id)
	}
	c, err := s.Records.Get(p.Container)
	if err != nil {
		return nil, notFound(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	user, privileged := p.Request.User, p.Request.Privileged
	if user == "" && c.Config != nil {
		user = c.Config.User
	}
	return &api.ExecInspectResponse{
		ID: p.ID, Running: p.Running, ExitCode: p.ExitCode, ContainerID: p.Container, Pid: p.Pid, DetachKeys: p.DetachKeys,
		OpenStdin: p.Request.AttachStdin, OpenStdout: p.Request.AttachStdout, OpenStderr: p.Request.AttachStderr,
		ProcessConfig: &api.ExecProcessConfig{
			Tty: p.Request.Tty, Entrypoint: p.Request.Cmd[0], Arguments: p.Request.Cmd[1:], Privileged: &privileged, User: user,
		},
	}, nil
}
