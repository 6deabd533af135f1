package shim

import (
	"log/slog"
	"sync"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// Config is what a shim is told of its manager.
type Config struct {
	Address, TTRPCAddress string   // the manager's sockets
	SocketDir             string   // where shims put theirs; "": beside those of the state directory
	Env                   []string // more environment, as NAME=VALUE
	Debug                 bool
	Runtimes              map[string]string // names of runtimes, and the name or the binary's path that is meant by each
}

// limits are how long things may take.
type limits struct {
	start, delete, info time.Duration // a run of the shim's binary
	answer              time.Duration // the first answer of a server
	shutdown            time.Duration // the end of a server
	patience            time.Duration // to connect again to a process that lives
}

// usual are containerd's limits where it has one.
var usual = limits{
	start:    20 * time.Second,
	delete:   5 * time.Second,
	info:     10 * time.Second,
	answer:   5 * time.Second,
	shutdown: 3 * time.Second,
	patience: 2 * time.Second,
}

// Launcher starts shims and finds them again. Its methods may be called at the same time.
type Launcher struct {
	config   Config
	limits   limits
	binaries binaries
	own      string // the binary that is made with this program; it knows the action serve

	mu      sync.Mutex
	servers map[string]*server            // by address
	infos   map[string]*types.RuntimeInfo // by binary and options
}

// New makes a Launcher.
func New(c Config) *Launcher {
	own, err := beside(ownBinary)
	if err != nil {
		slog.Warn("which program is this?", "error", err)
	}
	return &Launcher{
		own:      own,
		config:   c,
		limits:   usual,
		binaries: binaries{meant: c.Runtimes, paths: map[string]string{}, generations: map[string]generationOf{}, refusing: map[string]identity{}},
		servers:  map[string]*server{},
		infos:    map[string]*types.RuntimeInfo{},
	}
}

// Request is which shim to start.
type Request struct {
	Runtime string     // io.containerd.NAME.VERSION, or an absolute path
	Options *anypb.Any // of the runtime; may be nil
}

// Shim is the server of one bundle. Several of them may share a process and a connection.
type Shim struct {
	launcher *Launcher
	bundle   *bundle.Bundle
	server   *server
	log      *logReader
	closing  sync.Once
}

// Tasks is the shim's task service, whichever version it speaks. Errors are those of package errdefs.
func (s *Shim) Tasks() taskv3.TTRPCTaskService {
	return taskClient{server: s.server, namespace: s.bundle.Namespace}
}

// Client is the connection, for other services that a shim may have. It is another one after the connection was made
// again, and nil while it is being made.
func (s *Shim) Client() *ttrpc.Client { return s.server.currentClient() }

// Address is the server's socket.
func (s *Shim) Address() string { return s.server.address }

// Version of the task service, 2 or 3.
func (s *Shim) Version() int { return s.server.version }

// PID of the server's process; 0 where it does not tell.
func (s *Shim) PID() int { return s.server.pid }

// Gone is closed when the connection has ended and cannot be made again, or the server has ended after Shutdown: it is
// dead. After Close nobody looks any more.
func (s *Shim) Gone() <-chan struct{} { return s.server.gone }

// Close gives the connection up and leaves the server as it is.
func (s *Shim) Close() error {
	s.closing.Do(func() {
		s.launcher.release(s.server)
		s.log.close()
	})
	return nil
}
