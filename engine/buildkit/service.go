package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gantry-containers/gantry/engine/child"
	"github.com/gantry-containers/gantry/engine/fault"
)

// Images is told of images that were built. *images.Store is it.
type Images interface {
	// Built notes that a build of an id made an image, and tells of its names.
	Built(ctx context.Context, build string, image digest.Digest, names []string)
}

// Publisher is told what happens.
type Publisher interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Options are what the service works with.
type Options struct {
	// Program is buildkitd.
	Program string
	// Root keeps its cache, State its socket and what else does not survive a reboot.
	Root, State string
	// Settings is asked each time that it is started.
	Settings func() Settings
	Manager  *containerd.Client
	Images   Images
	Events   Publisher
	// Steps gives steps their networks where Settings name a bridge, and takes away what was left of such.
	Steps Steps
	// Idle is how long it may live without anything to do; 0 for five minutes.
	Idle time.Duration
}

// Service is a buildkitd that is there when it is needed.
type Service struct {
	o Options

	mu     sync.Mutex
	now    *instance // nil while there is none
	users  int
	unused time.Time
	closed bool

	builds builds

	// plugged are the builds for which steps have networks. plugging is held while that changes.
	plugging sync.Mutex
	plugged  int
}

// instance is a daemon that runs, and a connection to it.
type instance struct {
	process *child.Process
	conn    *grpc.ClientConn
}

// New is a service whose daemon does not run yet.
func New(o Options) *Service {
	o.Idle = cmp.Or(o.Idle, 5*time.Minute)
	return &Service{o: o, builds: builds{cancel: map[string]context.CancelFunc{}, waits: map[string]chan *upload{}}}
}

// Load finds the daemon that an engine left which was killed. It ends when it is not used.
func (s *Service) Load(ctx context.Context) error {
	p, err := s.daemon().Adopt(ctx)
	if err != nil || p == nil {
		if err == nil {
			s.sweep(ctx)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed, err := s.configure()
	if err == nil && changed {
		err := p.Stop()
		s.discard(ctx)
		return err
	}
	// What an engine before had built was broken off.
	s.leave(ctx)
	if err == nil {
		err = s.connect(p)
	}
	s.rest()
	return err
}

// Close ends the daemon, and with it what is being built.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.end()
}

// Use is a connection to the daemon, which is started if it does not run and lives at least until release is called.
func (s *Service) Use(ctx context.Context) (_ *grpc.ClientConn, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fault.Errorf(errdefs.ErrUnavailable, "the engine is ending")
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := s.ready(context.WithoutCancel(ctx)); err != nil {
		return nil, nil, fault.Errorf(errdefs.ErrUnavailable, "BuildKit cannot be started: %w", err)
	}
	s.users++
	return s.now.conn, sync.OnceFunc(s.release), nil
}

// ready has a daemon run. The lock is held by the caller.
func (s *Service) ready(ctx context.Context) error {
	if err := s.settle(); err != nil || s.now != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(s.o.Root, "tmp"), 0o711), os.MkdirAll(s.o.State, 0o700)); err != nil {
		return err
	}
	if _, err := s.configure(); err != nil {
		return err
	}
	s.sweep(ctx)
	p, err := s.daemon().Launch(ctx)
	// It tries whether steps can have networks, and keeps the first one.
	s.leave(ctx)
	if err != nil {
		return err
	}
	return s.connect(p)
}

// settle forgets a daemon that died, and ends one that nobody uses if it was told something else than it would be now.
func (s *Service) settle() error {
	if s.now == nil {
		return nil
	}
	select {
	case <-s.now.process.Ended():
		slog.Error("buildkitd died: it is started again")
		s.drop()
		return nil
	default:
	}
	if s.users > 0 {
		return nil
	}
	changed, err := s.configure()
	if err != nil || !changed {
		return err
	}
	return s.end()
}

// configure writes the configuration, and says whether it is another one than before.
func (s *Service) configure() (changed bool, err error) {
	b, err := s.o.Settings().file(s.o.Root, s.o.State)
	if err != nil {
		return false, fmt.Errorf("configuration of buildkitd: %w", err)
	}
	old, _ := os.ReadFile(s.configFile()) // None is another one.
	if string(old) == string(b) {
		return false, nil
	}
	return true, os.WriteFile(s.configFile(), b, 0o600)
}

func (s *Service) configFile() string { return filepath.Join(s.o.State, "buildkitd.toml") }
func (s *Service) socket() string     { return filepath.Join(s.o.State, "buildkitd.sock") }

func (s *Service) daemon() child.Daemon {
	return child.Daemon{
		Name: "buildkitd", Dir: s.o.State, Program: s.o.Program, Socket: s.socket(), Env: s.o.Settings().environment(os.Environ(), s.o.Root),
		Args: []string{"--config", s.configFile(), "--addr", "unix://" + s.socket()},
	}
}

// connect makes a process the one that is used.
func (s *Service) connect(p *child.Process) error {
	const most = 16 << 20 // BuildKit's own clients take as much in one message.
	conn, err := grpc.NewClient("passthrough:///buildkitd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(most), grpc.MaxCallSendMsgSize(most)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.socket())
		}))
	if err != nil {
		return errors.Join(err, p.Stop())
	}
	s.now = &instance{process: p, conn: conn}
	return nil
}

func (s *Service) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		s.rest()
	}
}

// rest ends the daemon in a while, unless somebody uses it.
func (s *Service) rest() {
	began := time.Now()
	s.unused = began
	time.AfterFunc(s.o.Idle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.users > 0 || s.unused != began || s.now == nil {
			return
		}
		slog.Debug("buildkitd is not needed any more")
		if err := s.end(); err != nil {
			slog.Error("buildkitd cannot be ended", "error", err)
		}
	})
}

// end ends the daemon. The lock is held by the caller.
func (s *Service) end() error {
	if s.now == nil {
		return nil
	}
	p := s.now.process
	s.drop()
	err := p.Stop()
	s.discard(context.Background())
	return err
}

// drop forgets the daemon.
func (s *Service) drop() {
	_ = s.now.conn.Close() // Nothing is lost by it.
	s.now = nil
}
