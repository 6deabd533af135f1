package registry

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/platforms"
	api "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
)

// What dockerd has when nothing else is said.
const (
	// CertsDir has one folder a registry, with its certificates or a hosts.toml.
	CertsDir = "/etc/docker/certs.d"
	// MaxDownloads is how many layers are fetched at a time, by all pulls together.
	MaxDownloads = 3
	// MaxUploads is the same for pushes.
	MaxUploads = 5
	// MaxAttempts is how often a layer's download is tried.
	MaxAttempts = 5
)

// leaseLabel marks the leases of pulls and pushes, so that the next engine finds those of one that was killed.
const leaseLabel = "gantry/registry.transfer"

// leaseExpiry is when a manager drops a lease that nobody came back for.
const leaseExpiry = 8 * time.Hour

// Publisher tells events.
type Publisher interface {
	Publish(kind api.Type, action api.Action, id string, attributes map[string]string)
}

// Config is what dockerd's flags say about registries. The zero value is dockerd's default.
type Config struct {
	// Mirrors are URLs that are asked before docker.io; Insecure are hosts and networks (CIDR) whose certificates are not
	// checked, and which may speak HTTP. The loopback always is one.
	Mirrors, Insecure []string
	// CertsDir is CertsDir when empty.
	CertsDir string
	// UserAgent is told to registries.
	UserAgent string
	// MaxDownloads, MaxUploads and MaxAttempts are dockerd's when 0.
	MaxDownloads, MaxUploads, MaxAttempts int
	// Unpacks is how many layers are unpacked at a time, where the manager can; 0 for the number of processors.
	Unpacks int
	// Stall is how long a registry may send next to nothing before it is given up; a minute when 0.
	Stall time.Duration
	// RetryAfter is the first pause before another attempt, which grows by the same each time; 5 s when 0.
	RetryAfter time.Duration
}

// Options is what a Service works with.
type Options struct {
	Config
	Client      *containerd.Client
	Snapshotter string
	// Events may be nil.
	Events Publisher
	// Records are the manager's image records; the client's when nil. An index in memory wants to hear of changes.
	Records images.Store
	// Platform is this machine's, with the level of its instruction set; containerd's default when nil.
	Platform *ocispec.Platform
}

// Service talks to registries for the images of one manager's namespace.
type Service struct {
	settings    atomic.Pointer[settings]
	client      *containerd.Client
	snapshotter string
	events      Publisher
	records     images.Store
	platform    ocispec.Platform
	locks       *locker
}

// settings are what a configuration became. A transfer keeps those that it began with.
type settings struct {
	Config
	endpoints *endpoints
	downloads *semaphore.Weighted
	uploads   *semaphore.Weighted
	guard     guard
}

// New makes a service. An error says what is wrong with the mirrors or the insecure registries.
func New(o Options) (*Service, error) {
	s := &Service{
		client:      o.Client,
		snapshotter: o.Snapshotter,
		events:      o.Events,
		records:     o.Records,
		platform:    platforms.DefaultSpec(),
		locks:       newLocker(),
	}
	if err := s.Reload(o.Config); err != nil {
		return nil, err
	}
	if o.Platform != nil {
		s.platform = *o.Platform
	}
	if s.records == nil && o.Client != nil {
		s.records = o.Client.ImageService()
	}
	return s, nil
}

// Reload changes the configuration for transfers that begin later. An error leaves it as it was.
func (s *Service) Reload(c Config) error {
	c = c.defaults()
	e, err := newEndpoints(c)
	if err != nil {
		return err
	}
	s.settings.Store(&settings{
		Config:    c,
		endpoints: e,
		downloads: semaphore.NewWeighted(int64(c.MaxDownloads)),
		uploads:   semaphore.NewWeighted(int64(c.MaxUploads)),
		guard:     guard{stall: c.Stall},
	})
	return nil
}

func (c Config) defaults() Config {
	if c.CertsDir == "" {
		c.CertsDir = CertsDir
	}
	if c.MaxDownloads == 0 {
		c.MaxDownloads = MaxDownloads
	}
	if c.MaxUploads == 0 {
		c.MaxUploads = MaxUploads
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = MaxAttempts
	}
	if c.Stall == 0 {
		c.Stall = time.Minute
	}
	if c.RetryAfter == 0 {
		c.RetryAfter = 5 * time.Second
	}
	return c
}

// Sweep removes what transfers of an engine that was killed have left. It is for the start, before any transfer.
func (s *Service) Sweep(ctx context.Context) error {
	manager := s.client.LeasesService()
	old, err := manager.List(ctx, `labels."`+leaseLabel+`"`)
	if err != nil {
		return err
	}
	for _, l := range old {
		if err := manager.Delete(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// lease keeps the manager from collecting what a transfer brings, until its end is called; a failed one's content goes
// at once.
func (s *Service) lease(ctx context.Context) (context.Context, func(failed bool), error) {
	manager := s.client.LeasesService()
	l, err := manager.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseExpiry),
		leases.WithLabels(map[string]string{leaseLabel: "true"}))
	if err != nil {
		return ctx, nil, err
	}
	end := func(failed bool) {
		// The client may have gone: its context does not count here.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		var opts []leases.DeleteOpt
		if failed {
			opts = append(opts, leases.SynchronousDelete)
		}
		_ = manager.Delete(ctx, l, opts...) // it expires by itself
	}
	return leases.WithLease(ctx, l.ID), end, nil
}

// Request is what a client sends along.
type Request struct {
	// Platform is the one that is wanted: nil is this machine's for a pull, and all that there are for a push.
	Platform *ocispec.Platform
	// Auth is credentials; nil for none.
	Auth *registry.AuthConfig
	// UserAgent is the client's own; Meta are its X-Meta- headers, which registries get, too.
	UserAgent string
	Meta      http.Header
}
