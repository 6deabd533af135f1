package exec

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// Records are the containers that there are.
type Records interface {
	Get(ref string) (*container.Container, error)
}

// Tasks runs processes.
type Tasks interface {
	Spec(ctx context.Context, id string) (*specs.Spec, error)
	Exec(ctx context.Context, id, process string, p *specs.Process, io tasks.IO) (pid int, err error)
	DeleteExec(ctx context.Context, id, process string) (*tasks.Exit, error)
	Kill(ctx context.Context, id, process string, signal syscall.Signal, all bool) error
	Status(ctx context.Context, id, process string) (tasks.Status, error)
	Resize(ctx context.Context, id, process string, width, height uint32) error
}

// Keeper holds the streams of processes.
type Keeper interface {
	Open(ctx context.Context, s stdio.Streams) (tasks.IO, error)
	Attach(ctx context.Context, key stdio.Key, a stdio.Attach, conn net.Conn) (<-chan stdio.Ended, error)
	Drained(ctx context.Context, key stdio.Key, limit time.Duration) error
	Close(ctx context.Context, key stdio.Key) error
}

// Publisher tells events.
type Publisher interface {
	Publish(kind apievents.Type, action apievents.Action, id string, attributes map[string]string)
}

// Builder makes the process of a request from the spec that its container runs with. It looks the user up when one is
// named.
type Builder interface {
	// User fails when a container does not know a user.
	User(c *container.Container, user string) error
	Process(c *container.Container, s *specs.Spec, req api.ExecCreateRequest) (*specs.Process, error)
}

// Probes are processes in containers that are not execs of clients: those of health checks.
type Probes interface {
	// Exited says whether it was one of them.
	Exited(e tasks.Exit) bool
	Reconcile(ctx context.Context)
}

// Parts is what the service works with.
type Parts struct {
	Records Records
	Tasks   Tasks
	Keeper  Keeper
	Events  Publisher
	Builder Builder
	// Probes are told what is not an exec; nil for none. It may be set after Open.
	Probes Probes
}

// Service knows the further processes of all containers.
type Service struct {
	Parts
	dir string

	// saving is held while a record is written.
	saving sync.Mutex

	mu    sync.Mutex
	execs map[string]*process
	// specs are those of running containers, by id. They do not change while the pid is the same.
	specs map[string]known
	sweep *time.Timer
}

type known struct {
	pid  int
	spec *specs.Spec
}

// process is an exec: its record and what this engine knows beside it.
type process struct {
	record
	// started is closed when the start worked or failed; exited when it has an exit code.
	started, exited chan struct{}
	// ended is when the exit code came; it is forgotten a while after.
	ended time.Time
	// unfinished says that the engine that saw its end died before it had done what follows.
	unfinished bool
}

// Exists says whether an exec can be started or resized now: it is there, and its container runs.
func (s *Service) Exists(id string) error {
	_, _, err := s.usable(id)
	return err
}

func (s *Service) usable(id string) (*process, *container.Container, error) {
	s.mu.Lock()
	p := s.execs[id]
	s.mu.Unlock()
	if p == nil {
		return nil, nil, notFound(id)
	}
	c, err := s.Records.Get(p.Container)
	if err != nil {
		return nil, nil, fault.Errorf(errdefs.ErrNotFound, "No such container: %s", id)
	}
	return p, c, running(c, c.ID)
}

func notFound(id string) error {
	return fault.Errorf(errdefs.ErrNotFound, "No such exec instance: %s", id)
}

// running says no to containers that cannot run a further process now.
func running(c *container.Container, ref string) error {
	switch c.State.Status {
	case container.Running:
		return nil
	case container.Paused:
		return fault.Errorf(errdefs.ErrConflict, "Container %s is paused, unpause the container before exec", ref)
	case container.Restarting:
		return fault.Errorf(errdefs.ErrConflict, "Container %s is restarting, wait until the container is running", c.ID)
	case container.Created, container.Exited, container.Dead:
	}
	return fault.Errorf(errdefs.ErrConflict, "container %s is not running", c.ID)
}

// IDs are the execs of a container that have not ended.
func (s *Service) IDs(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, p := range s.execs {
		if p.Container == id && p.ExitCode == nil {
			ids = append(ids, p.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// spec is what a running container runs with. It is asked for once.
func (s *Service) spec(ctx context.Context, c *container.Container) (*specs.Spec, error) {
	s.mu.Lock()
	k, ok := s.specs[c.ID]
	s.mu.Unlock()
	if ok && k.pid == c.State.Pid {
		return k.spec, nil
	}
	full, err := s.Tasks.Spec(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{Version: full.Version, Process: full.Process} // The rest is large, and nobody reads it.
	if spec.Process == nil {
		spec.Process = &specs.Process{}
	}
	s.mu.Lock()
	s.specs[c.ID] = known{c.State.Pid, spec}
	s.mu.Unlock()
	return spec, nil
}

// Process makes the process of a request for a running container.
func (s *Service) Process(ctx context.Context, c *container.Container, req api.ExecCreateRequest) (*specs.Process, error) {
	spec, err := s.spec(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.Builder.Process(c, spec, req)
}

// tell publishes an event about an exec.
func (s *Service) tell(c *container.Container, action apievents.Action, id string, pairs ...string) {
	s.Events.Publish(apievents.ContainerEventType, action, c.ID, c.EventAttributes(append(pairs, "execID", id)...))
}
