package task

import (
	"context"
	"os"
	"slices"
	"sync"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/events"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// Service is the task service of one shim.
type Service struct {
	Namespace string
	Events    *events.Publisher         // where the containers' events go
	Quit      func()                    // called once, when the last container has gone and Shutdown is asked for
	Busy      func() bool               // whether something else than containers keeps the shim; nil is no
	Furnish   func(bundle string) error // adds what a pod gives its containers to a bundle; nil is nothing

	mu         sync.Mutex
	containers map[string]*container
	deleted    []tombstone // of the last containers, oldest first
	leaving    bool        // Quit was called
	wanted     bool        // a container was asked for
	released   bool        // Leave was called
}

// tombstone is what Delete answered, for a caller who did not hear it.
type tombstone struct {
	id     string
	answer *task.DeleteResponse
}

// maxTombstones bounds what a pod's shim keeps of containers: their callers ask again soon, or never.
const maxTombstones = 64

// Names are the services that Methods serve.
var Names = []string{"containerd.task.v2.Task", "containerd.task.v3.Task"}

// Methods are the service's methods for a ttrpc server.
func (s *Service) Methods() map[string]ttrpc.Method {
	s.containers = map[string]*container{}
	return map[string]ttrpc.Method{
		"Create":     ttrpc.Unary(s.create),
		"Start":      ttrpc.Unary(s.start),
		"Delete":     ttrpc.Unary(s.delete),
		"Exec":       ttrpc.Unary(s.exec),
		"State":      ttrpc.Unary(s.state),
		"Kill":       ttrpc.Unary(s.kill),
		"Wait":       ttrpc.Unary(s.wait),
		"Pids":       ttrpc.Unary(s.pids),
		"Pause":      ttrpc.Unary(s.pause),
		"Resume":     ttrpc.Unary(s.resume),
		"Checkpoint": ttrpc.Unary(s.checkpoint),
		"Update":     ttrpc.Unary(s.update),
		"Stats":      ttrpc.Unary(s.stats),
		"ResizePty":  ttrpc.Unary(s.resizePty),
		"CloseIO":    ttrpc.Unary(s.closeIO),
		"Connect":    ttrpc.Unary(s.connect),
		"Shutdown":   ttrpc.Unary(s.shutdown),
	}
}

// EventsReplayed is the key of the ttrpc metadata by which a daemon says, with any value, that it remembers events for its
// own clients: gantry-manager does, and containerd does not.
const EventsReplayed = "gantry-events-replayed"

// connect is what a daemon asks first, whenever it has started or found this shim, and before it takes events.
func (s *Service) connect(ctx context.Context, r *task.ConnectRequest) (*task.ConnectResponse, error) {
	s.Events.Replays(ttrpc.Metadata(ctx, EventsReplayed) != "")
	answer := &task.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: "3"}
	if c, err := s.container(r.Id); err == nil {
		answer.TaskPid = uint32(c.init.currentPid())
	}
	return answer, nil
}

// shutdown does nothing while a container is there, or comes: containerd asks after every Delete, and another of the
// group may be in the making. Its own container, if that is still being created, is given up: its caller has.
func (s *Service) shutdown(_ context.Context, r *task.ShutdownRequest) (*known.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.containers[r.Id]
	rest := len(s.containers)
	if own != nil && own.giveUp() {
		rest--
	}
	if rest == 0 {
		s.quitUnlessBusy()
	}
	return &known.Empty{}, nil
}

// Leave ends the shim, if it has containers with the last of them: for what has kept it Busy, and does so no more.
// containerd 2.0 to 2.2 does not ask for the Shutdown of a sandbox's containers.
func (s *Service) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	if len(s.containers) == 0 {
		s.quitUnlessBusy()
	}
}

func (s *Service) quitUnlessBusy() {
	if !s.leaving && (s.Busy == nil || !s.Busy()) {
		s.leaving = true
		s.Quit()
	}
}

// Wanted says whether a container has ever been asked for, or something else keeps the shim.
func (s *Service) Wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted || s.Busy != nil && s.Busy()
}

// Close waits for creations that were given up to be undone.
func (s *Service) Close() {
	for _, c := range s.all() {
		<-c.created
	}
}

func (s *Service) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	return all
}

// container finds a container that has been created.
func (s *Service) container(id string) (*container, error) {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c == nil || !c.isCreated() {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "container %q not found in this shim", id)
	}
	return c, nil
}

// process finds the init process of a container, or one of Exec.
func (s *Service) process(id, execID string) (*process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	return c.process(execID)
}

// deletedBefore is what Delete answered for a container that has gone, nil for one that it does not remember.
func (s *Service) deletedBefore(id string) *task.DeleteResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.deleted {
		if t.id == id {
			return t.answer
		}
	}
	return nil
}

// reserve takes an id for a container that is about to be created.
func (s *Service) reserve(c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return ttrpc.Errorf(ttrpc.Unavailable, "this shim is about to end")
	}
	if s.containers[c.id] != nil {
		return ttrpc.Errorf(ttrpc.AlreadyExists, "container %q is already there", c.id)
	}
	s.containers[c.id] = c
	s.wanted = true
	s.deleted = slices.DeleteFunc(s.deleted, func(t tombstone) bool { return t.id == c.id })
	return nil
}

// forget removes a container; answer is what Delete says from now on, nil if there never was one.
func (s *Service) forget(id string, answer *task.DeleteResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, id)
	if answer != nil {
		if len(s.deleted) == maxTombstones {
			s.deleted = slices.Delete(s.deleted, 0, 1)
		}
		s.deleted = append(s.deleted, tombstone{id, answer})
	}
	if s.released && len(s.containers) == 0 {
		s.quitUnlessBusy()
	}
}
