package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/events"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/httpapi/authz"
	buildkitapi "github.com/gantry-containers/gantry/engine/httpapi/buildkit"
	"github.com/gantry-containers/gantry/engine/idmap"
	"github.com/gantry-containers/gantry/engine/managed"
)

// Build is what this program is.
type Build struct{ Version, Commit string }

// Engine puts the parts together. What they do is in their packages; what they need from each other is in the files
// wire_….go.
type Engine struct {
	build  Build
	config atomic.Pointer[config.Config]
	// containerSettings are made of config.
	containerSettings atomic.Pointer[containers.Settings]
	facts             host.Facts
	bus               *events.Bus
	manager           *containerd.Client
	address           string
	// find is where a program is that the manager runs by its name.
	find  func(name string) (string, error)
	parts parts
	authz *authz.Chain
	// users says which containers have users of their own.
	users   idmap.Policy
	routers []httpapi.Router
	// load is done once before clients are answered, in order, and then what runs beside begins; closers when the engine
	// ends, the last first.
	load    []func(context.Context) error
	begin   []func()
	closers []func() error
	server  *http.Server
}

// New opens the state and connects to the manager, which it starts if none was named.
func New(ctx context.Context, c *config.Config, build Build) (_ *Engine, err error) {
	e := &Engine{build: build, bus: events.NewBus()}
	e.config.Store(c)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.facts, err = host.Probe(); err != nil {
		return nil, err
	}
	if err := e.remap(c); err != nil {
		return nil, err
	}
	e.confine(c)
	for _, step := range []func(context.Context) error{
		e.openRoot, e.connect, e.wireAuthZ,
		e.wireAbsent, e.wireRecords, e.wireNetworks, e.wireImages, e.wireFiles, e.wireStreams, e.wireContainers, e.wireViews,
		e.wireBuild, e.wireSystem,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// openRoot makes the folders, and this engine the only one that works in them.
func (e *Engine) openRoot(context.Context) error {
	c := e.config.Load()
	if err := foreign(c.Root); err != nil {
		return err
	}
	// Others must not look into containers' files, but root of a container that was remapped must pass: 0710, 0711.
	_, group := e.users.All.RootPair()
	if err := errors.Join(os.MkdirAll(c.Root, 0o710), os.Chown(c.Root, -1, group), os.MkdirAll(c.ExecRoot, 0o711)); err != nil {
		return err
	}
	lock, err := lockRoot(c.Root)
	if err != nil {
		return err
	}
	e.onClose(lock.Close)
	remove, err := writePidfile(c.Pidfile)
	if err != nil {
		return err
	}
	e.onClose(func() error { remove(); return nil })
	return nil
}

// connect finds the manager, or starts it.
func (e *Engine) connect(ctx context.Context) error {
	c := e.config.Load()
	e.address, e.find = c.Containerd, exec.LookPath
	if e.address == "" {
		m, err := managed.Start(ctx, managed.Options{
			Root: filepath.Join(c.Root, "manager"), State: filepath.Join(c.ExecRoot, "manager"), LogLevel: managerLevel(c.Log),
		})
		if err != nil {
			return err
		}
		e.onClose(m.Stop)
		e.address, e.find = m.Address(), managed.Find
	}
	client, err := containerd.New(e.address, containerd.WithDefaultNamespace(c.Namespace), containerd.WithTimeout(time.Minute),
		containerd.WithExtraDialOpts(patient()))
	if err != nil {
		return err
	}
	e.onClose(client.Close)
	e.manager = client
	return nil
}

func managerLevel(l config.Log) string {
	if l.Debug {
		return "debug"
	}
	return l.Level
}

// Load finds the containers that live from before, and what became of them meanwhile.
func (e *Engine) Load(ctx context.Context) error {
	for _, f := range e.load {
		if err := f(ctx); err != nil {
			return err
		}
	}
	for _, f := range e.begin {
		f()
	}
	return nil
}

// headerPatience is for clients that connect and say nothing.
const headerPatience = 5 * time.Minute

// Serve answers clients until the context ends. Connections that were taken over live on until Close.
func (e *Engine) Serve(ctx context.Context, listeners []net.Listener) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	h := httpapi.New(httpapi.Options{
		Server: e.build.Version, Lowest: e.config.Load().MinAPI, Highest: config.MaxAPI, Experimental: e.config.Load().Experimental,
		Guard: e.authz,
	}, e.routers...)
	if e.parts.relay != nil {
		h = buildkitapi.Direct(e.parts.relay, e.authz, h)
	}
	e.server = &http.Server{
		Handler: h, Protocols: protocols(),
		ReadHeaderTimeout: headerPatience,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		slog.Info("listening", "address", l.Addr().String())
		go func() { failed <- e.server.Serve(l) }()
	}
	select {
	case err := <-failed:
		return errors.Join(err, e.server.Close())
	case <-ctx.Done():
	}
	return e.endServing(cancel)
}

// protocols are HTTP/1, and HTTP/2 for clients that begin with it.
func protocols() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return &p
}

// endPatience is how long requests may take to end when the engine does.
const endPatience = 5 * time.Second

// endServing lets short requests end, and ends those that only wait.
func (e *Engine) endServing(cancel func()) error {
	const grace = 500 * time.Millisecond
	timer := time.AfterFunc(grace, cancel)
	defer timer.Stop()
	patience, stop := context.WithTimeout(context.Background(), endPatience)
	defer stop()
	if err := e.server.Shutdown(patience); err != nil {
		slog.Warn("requests are cut off", "error", err)
		return e.server.Close()
	}
	return nil
}

// Close ends all of it and leaves the containers as they are.
func (e *Engine) Close() error { return e.close() }

func (e *Engine) onClose(f func() error) { e.closers = append(e.closers, f) }

func (e *Engine) close() error {
	var errs []error
	for len(e.closers) > 0 {
		last := len(e.closers) - 1
		errs = append(errs, e.closers[last]())
		e.closers = e.closers[:last]
	}
	return errors.Join(errs...)
}
