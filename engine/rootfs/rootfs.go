package rootfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
)

const (
	// gcRoot keeps a snapshot although nothing of the manager's points to it.
	gcRoot = "containerd.io/gc.root"
	// ownerLabel says whose a snapshot is, so that Sweep finds those whose owner is gone.
	ownerLabel = "gantry.engine/owner"
)

// Service keeps the snapshots of containers; the key of each is the container's id.
type Service struct {
	client      *containerd.Client
	snapshotter string
	// pid is the init of a container that runs; 0 of others. ids are those that it has on the host.
	pid func(id string) int
	ids func(id string) user.IdentityMapping
	// shown is a folder for layers that are shown with other ids.
	shown string

	mu    sync.Mutex
	usage map[string]usage
}

// Containers tells of containers what their roots depend on.
type Containers struct {
	// Pid is the host's pid of a running container's init, and 0 for every other id.
	Pid func(id string) int
	// IDs are whose ids on the host its users have; nil when all have the host's.
	IDs func(id string) user.IdentityMapping
}

// New is a service over the manager's snapshotter of a name. Shown is a folder that the manager sees as well, and that
// need not outlive a reboot.
func New(client *containerd.Client, snapshotter string, c Containers, shown string) *Service {
	return &Service{client: client, snapshotter: snapshotter, pid: c.Pid, ids: c.IDs, shown: shown, usage: map[string]usage{}}
}

func (s *Service) snapshots() snapshots.Snapshotter { return s.client.SnapshotService(s.snapshotter) }

// Create makes a container's snapshot on top of an unpacked image; empty for an empty root.
func (s *Service) Create(ctx context.Context, id string, chain digest.Digest) error {
	err := s.prepare(ctx, id, chain)
	if !errdefs.IsNotFound(err) {
		return err
	}
	// The lease keeps the init layer until the container's snapshot holds it.
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	if err := s.makeInit(ctx, chain); err != nil {
		return err
	}
	return s.prepare(ctx, id, chain)
}

func (s *Service) prepare(ctx context.Context, id string, chain digest.Digest) error {
	_, err := s.snapshots().Prepare(ctx, id, initKey(chain), snapshots.WithLabels(map[string]string{
		gcRoot:     time.Now().UTC().Format(time.RFC3339),
		ownerLabel: id,
	}))
	if err != nil {
		return fmt.Errorf("snapshot of container %s: %w", id, err)
	}
	return nil
}

// View makes a read-only snapshot of an unpacked image, which lives until Remove. The owner is the container that it
// is for.
func (s *Service) View(ctx context.Context, key, owner string, chain digest.Digest) error {
	_, err := s.snapshots().View(ctx, key, chain.String(), snapshots.WithLabels(map[string]string{
		gcRoot:     time.Now().UTC().Format(time.RFC3339),
		ownerLabel: owner,
	}))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("view of image %s: %w", chain, err)
	}
	return nil
}

// Layer makes a snapshot directly on top of an unpacked image (empty for nothing), to become a layer of another one. It
// lives until Remove, or the next Sweep when its owner is gone.
func (s *Service) Layer(ctx context.Context, key, owner string, chain digest.Digest) error {
	_, err := s.snapshots().Prepare(ctx, key, chain.String(), snapshots.WithLabels(map[string]string{
		gcRoot:     time.Now().UTC().Format(time.RFC3339),
		ownerLabel: owner,
	}))
	if err != nil {
		return fmt.Errorf("new layer on image %s: %w", chain, err)
	}
	return nil
}

// Remove removes the snapshot. It can be repeated.
func (s *Service) Remove(ctx context.Context, id string) error {
	s.mu.Lock()
	delete(s.usage, id)
	s.mu.Unlock()
	if err := s.snapshots().Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("snapshot %s: %w", id, err)
	}
	return nil
}

// Sweep removes the snapshots of containers that are not known any more: an engine that was killed in the middle of a
// create or a remove left them, and leases. It must not run beside a create.
func (s *Service) Sweep(ctx context.Context, known func(id string) bool) error {
	var gone []string
	err := s.snapshots().Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if owner := info.Labels[ownerLabel]; owner != "" && !known(owner) {
			gone = append(gone, info.Name)
		}
		return nil
	}, "labels."+fmt.Sprintf("%q", ownerLabel))
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, key := range gone {
		if err := s.Remove(ctx, key); err != nil {
			return err
		}
	}
	return errors.Join(s.sweepShown(), s.sweepLeases(ctx))
}

// Mounts says how the manager would mount a snapshot.
func (s *Service) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	m, err := s.snapshots().Mounts(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %s: %w", key, err)
	}
	return m, nil
}

// usageAge is how long a size is told again without counting again: ps -s and df ask for all containers at once.
const usageAge = 5 * time.Second

type usage struct {
	size int64
	at   time.Time
	// below is what all snapshots below have; they never change. 0 when it is not known.
	below int64
}

// Usage is the size of a container's own files, in bytes.
func (s *Service) Usage(ctx context.Context, id string) (int64, error) {
	s.mu.Lock()
	known, ok := s.usage[id]
	s.mu.Unlock()
	if ok && time.Since(known.at) < usageAge {
		return known.size, nil
	}
	u, err := s.snapshots().Usage(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("size of container %s: %w", id, err)
	}
	s.mu.Lock()
	s.usage[id] = usage{u.Size, time.Now(), s.usage[id].below}
	s.mu.Unlock()
	return u.Size, nil
}
