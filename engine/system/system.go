package system

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/google/uuid"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sync/singleflight"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/host"
)

// Containers are asked for their number and size.
type Containers interface {
	// Counts are how many are running, paused and neither.
	Counts() (running, paused, stopped int)
	// DiskUsage has an item for each container.
	DiskUsage(ctx context.Context) (*container.DiskUsage, error)
}

// Images are asked for their number and size.
type Images interface {
	Count(ctx context.Context) int
	// DiskUsage has an item for each image.
	DiskUsage(ctx context.Context) (*image.DiskUsage, error)
}

// Volumes are asked for their size.
type Volumes interface {
	// DiskUsage has an item for each volume.
	DiskUsage(ctx context.Context) (*volume.DiskUsage, error)
}

// BuildCache is asked for its size.
type BuildCache interface {
	// DiskUsage has an item for each record.
	DiskUsage(ctx context.Context) (*build.DiskUsage, error)
}

// Manager is what runs containers: a client of containerd.
type Manager interface {
	Version(ctx context.Context) (containerd.Version, error)
	RuntimeInfo(ctx context.Context, runtime string, options any) (*containerd.RuntimeInfo, error)
}

// Options are what the answers are made of. Containers, Images, Volumes and BuildCache may be nil: then there are none.
type Options struct {
	// Version and Commit of this program.
	Version, Commit string
	// Config is asked each time: it changes by reloads.
	Config func() *config.Config
	Facts  host.Facts
	// Address of the manager, as info tells it.
	Address string
	Manager Manager
	// Find is where a program is that the manager would run by its name.
	Find func(name string) (string, error)
	// Listeners is the number of who listens to events.
	Listeners  func() int
	Containers Containers
	Images     Images
	Volumes    Volumes
	BuildCache BuildCache
}

// Service tells about the engine.
type Service struct {
	o  Options
	id string

	// once lets many who ask the same at the same time ask the manager, or run a program, once.
	once singleflight.Group
	// measuring has a place for each measurement of the disk that is made at the same time.
	measuring chan struct{}

	mu       sync.Mutex
	version  containerd.Version
	asked    time.Time // version
	programs map[string]program
	features map[string]features
}

// New is a service for an engine whose data is in a folder, where its id is kept.
func New(o Options, root string) (*Service, error) {
	id, err := engineID(filepath.Join(root, "engine-id"))
	if err != nil {
		return nil, err
	}
	return &Service{o: o, id: id, measuring: make(chan struct{}, measurements), programs: map[string]program{}, features: map[string]features{}}, nil
}

// ID is this engine's own id.
func (s *Service) ID() string { return s.id }

// engineID reads the id, or makes one.
func engineID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := uuid.NewString()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(id), 0o600); err != nil {
		return "", err
	}
	return id, os.Rename(temp, path)
}

// features is what a runtime said it can, and when it was asked.
type features struct {
	status map[string]string
	at     time.Time
}

const (
	// versionAge is how long the manager's version is believed: it may be replaced at any time.
	versionAge = time.Second
	// patience is how long the manager or a program may take to answer.
	patience = 10 * time.Second
)

// managerVersion asks the manager, or remembers.
func (s *Service) managerVersion(ctx context.Context) (containerd.Version, error) {
	s.mu.Lock()
	version, asked := s.version, s.asked
	s.mu.Unlock()
	if time.Since(asked) < versionAge {
		return version, nil
	}
	v, err, _ := s.once.Do("manager", func() (any, error) {
		// Others wait for this answer as well: it does not end with the first who asked.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		v, err := s.o.Manager.Version(ctx)
		if err == nil {
			s.mu.Lock()
			s.version, s.asked = v, time.Now()
			s.mu.Unlock()
		}
		return v, err
	})
	version, _ = v.(containerd.Version)
	return version, err
}

// featuresAge is how long an answer of a runtime is believed: asking runs it.
const featuresAge = 10 * time.Minute

// Name is the machine's name.
func (s *Service) Name() string {
	name, _ := os.Hostname()
	return name
}
