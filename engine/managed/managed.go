package managed

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/gantry-containers/gantry/engine/child"
)

// Options say where a manager lives.
type Options struct {
	// Root keeps what survives a reboot, State what does not.
	Root, State string
	// LogLevel is one of the manager's words.
	LogLevel string
	// Program is the manager; empty for gantry-manager beside this program or in PATH.
	Program string
}

const (
	programName = "gantry-manager"
	socketName  = "manager.sock"
)

// Manager is a manager that belongs to this engine. It outlives an engine that is killed: the next one finds it by its
// socket and goes on with it. An engine that ends in order ends it; containers live on.
type Manager struct {
	o      Options
	daemon child.Daemon
	ended  chan struct{} // Closed when nobody watches any more.
	cancel context.CancelFunc

	mu  sync.Mutex
	now *child.Process // nil while there is none
}

// Start finds the manager that runs already, or starts one, and returns when it answers. From then on it is started
// again whenever it dies, until Stop.
func Start(ctx context.Context, o Options) (*Manager, error) {
	m := &Manager{o: o, ended: make(chan struct{})}
	program := o.Program
	if program == "" {
		path, err := Find(programName)
		if err != nil {
			return nil, err
		}
		program = path
	}
	if err := os.MkdirAll(o.State, 0o711); err != nil {
		return nil, err
	}
	m.daemon = child.Daemon{
		Name: "manager", Dir: o.State, Program: program, Env: os.Environ(), Socket: m.Address(),
		Args: []string{
			"--config", m.configFile(), "--address", m.Address(), "--root", o.Root, "--state", filepath.Join(o.State, "state"),
			"--log-level", o.LogLevel,
		},
	}
	p, err := m.daemon.Adopt(ctx)
	if err == nil && p == nil {
		p, err = m.launch(ctx)
	}
	if err != nil {
		return nil, err
	}
	m.set(p)
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	go m.watch(watch, p)
	return m, nil
}

// Address of the manager's socket.
func (m *Manager) Address() string { return filepath.Join(m.o.State, socketName) }

// Pid is the manager's process; 0 while there is none.
func (m *Manager) Pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil {
		return 0
	}
	return m.now.Pid
}

func (m *Manager) set(p *child.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = p
}

// Stop ends the manager, and waits until it has. Containers live on.
func (m *Manager) Stop() error {
	m.cancel()
	<-m.ended
	if m.now == nil {
		return nil
	}
	return m.now.Stop()
}

// Find looks for a program beside this one, and then in PATH, as the managed manager does: what is installed together
// works together.
func Find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if path, err := exec.LookPath(beside); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

func (m *Manager) launch(ctx context.Context) (*child.Process, error) {
	if err := os.WriteFile(m.configFile(), []byte("version = 3\n"), 0o600); err != nil {
		return nil, err
	}
	return m.daemon.Launch(ctx)
}

func (m *Manager) configFile() string { return filepath.Join(m.o.State, "manager.toml") }

// watch starts the manager again whenever it died, ever more slowly if it dies at once.
func (m *Manager) watch(ctx context.Context, p *child.Process) {
	defer close(m.ended)
	const fastest, slowest = 10 * time.Millisecond, 5 * time.Second
	for pause := fastest; ; {
		started := time.Now()
		select {
		case <-p.Ended():
		case <-ctx.Done():
			return
		}
		m.set(nil)
		if time.Since(started) > slowest {
			pause = fastest
		}
		slog.Error("the manager died: it is started again; containers are not touched by that")
		for {
			next, err := m.launch(ctx)
			if err == nil {
				p = next
				m.set(p)
				break
			}
			slog.Error("the manager cannot be started", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
				pause = min(2*pause, slowest)
			}
		}
	}
}
