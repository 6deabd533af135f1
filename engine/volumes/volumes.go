package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
)

const (
	// Local is the only driver.
	Local = "local"
	// AnonymousLabel is on volumes that got their names by us: prune removes only those, unless told otherwise.
	AnonymousLabel = "com.docker.volume.anonymous"
)

// Events tells others what happens to volumes.
type Events interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Store is the volumes of the local driver.
type Store struct {
	dir     string
	events  Events
	pruning atomic.Bool

	mu     sync.Mutex
	byName map[string]*entry
}

// entry is one volume.
type entry struct {
	record
	// uses are the containers that have it.
	uses map[string]bool

	// mounting is held over mount(2), which may take long for a network's file system.
	mounting sync.Mutex
	mounted  bool
	// mounts counts for whom it is mounted.
	mounts map[string]int
}

// Open reads the volumes of a folder, which is made when it is missing.
func Open(dir string, ev Events) (*Store, error) {
	if err := os.MkdirAll(dir, 0o701); err != nil {
		return nil, err
	}
	// 0701, whatever the umask is: root of a user namespace must get through, and see no names.
	if err := os.Chmod(dir, 0o701); err != nil { //nolint:gosec // As said above.
		return nil, err
	}
	s := &Store{dir: dir, events: ev, byName: map[string]*entry{}}
	records, err := load(dir)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		e := newEntry(r)
		if e.needsMount() {
			e.mounted = isMountPoint(s.data(r.Name))
		}
		s.byName[r.Name] = e
	}
	return s, nil
}

func newEntry(r record) *entry {
	return &entry{record: r, uses: map[string]bool{}, mounts: map[string]int{}}
}

// data is where the files of a volume are.
func (s *Store) data(name string) string { return filepath.Join(s.dir, name, dataDir) }

// Create makes a volume, or finds the one of that name with the same driver and options. An empty name gets one of 64
// hexadecimal digits and the label of anonymous volumes.
func (s *Store) Create(ctx context.Context, req volume.CreateRequest) (*volume.Volume, error) {
	return s.CreateFor(ctx, req, "")
}

// CreateFor is Create and Use at once, so that nobody removes the volume in between.
func (s *Store) CreateFor(ctx context.Context, req volume.CreateRequest, container string) (*volume.Volume, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, labels, owner := req.Name, req.Labels, ""
	if name == "" {
		name, owner = names.ID(), container
		labels = maps.Clone(labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[AnonymousLabel] = ""
	}
	if req.Driver != "" && req.Driver != Local {
		return nil, fault.Errorf(errdefs.ErrNotFound, "create %s: error looking up volume plugin %s: plugin %q not found", name, req.Driver, req.Driver)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byName[name]
	if !ok {
		if err := errors.Join(checkName(name), checkOptions(req.DriverOpts)); err != nil {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "create %s: %w", name, err)
		}
		r := record{Name: name, Labels: labels, Options: req.DriverOpts, Created: time.Now(), For: owner}
		if err := create(s.dir, r); err != nil {
			return nil, fmt.Errorf("create %s: %w", name, err)
		}
		e = newEntry(r)
		s.byName[name] = e
		s.events.Publish(events.VolumeEventType, events.ActionCreate, name, map[string]string{"driver": Local})
	}
	if container != "" {
		e.uses[container] = true
	}
	v := s.show(e)
	return &v, nil
}

func checkName(name string) error {
	if len(name) == 1 {
		return errors.New("volume name is too short, names should be at least two alphanumeric characters")
	}
	if !names.Valid(name) || len(name) > 255 {
		return fmt.Errorf("%q includes invalid characters for a local volume name, only %q are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, names.Chars)
	}
	return nil
}

// show is a volume as clients see it.
func (s *Store) show(e *entry) volume.Volume {
	return volume.Volume{
		CreatedAt:  e.Created.Local().Format(time.RFC3339),
		Driver:     Local,
		Labels:     maps.Clone(e.Labels),
		Mountpoint: s.data(e.Name),
		Name:       e.Name,
		Options:    maps.Clone(e.Options),
		Scope:      "local",
	}
}

// Get finds a volume. Not found: "get x: no such volume".
func (s *Store) Get(_ context.Context, name string) (*volume.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(name)
	if err != nil {
		return nil, err
	}
	v := s.show(e)
	if len(v.Labels) == 0 {
		v.Labels = nil
	}
	if len(v.Options) == 0 {
		v.Options = nil
	}
	return &v, nil
}

func (s *Store) find(name string) (*entry, error) {
	e, ok := s.byName[name]
	if !ok && name == "" {
		return nil, fault.Errorf(errdefs.ErrNotFound, "get: no such volume")
	}
	if !ok {
		return nil, fault.Errorf(errdefs.ErrNotFound, "get %s: no such volume", name)
	}
	return e, nil
}

// Use notes that a container uses a volume, which is then not removed.
func (s *Store) Use(name, container string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(name)
	if err != nil {
		return err
	}
	e.uses[container] = true
	return nil
}

// Unuse takes the note away.
func (s *Store) Unuse(name, container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byName[name]; ok {
		delete(e.uses, container)
	}
}

// Keep says that an anonymous volume stays when the container goes that it was made for.
func (s *Store) Keep(name, container string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byName[name]
	if !ok || e.For != container {
		return nil
	}
	kept := e.record
	kept.For = ""
	if err := write(filepath.Join(s.dir, name), kept); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	e.record = kept
	return nil
}

// Sweep removes the anonymous volumes of containers that are not known: an engine that was killed in the middle of a
// create left them. All uses must have been noted before.
func (s *Store) Sweep(ctx context.Context, known func(container string) bool) error {
	s.mu.Lock()
	var gone []string
	for name, e := range s.byName {
		if e.For != "" && len(e.uses) == 0 && !known(e.For) {
			gone = append(gone, name)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, name := range gone {
		errs = append(errs, s.Remove(ctx, name, true))
	}
	return errors.Join(errs...)
}

// Remove removes a volume. In use is a conflict; forced, a missing one is no error.
func (s *Store) Remove(ctx context.Context, name string, force bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	moved, err := s.take(name)
	if errdefs.IsNotFound(err) && force {
		return nil
	}
	if err != nil {
		return err
	}
	s.events.Publish(events.VolumeEventType, events.ActionDestroy, name, map[string]string{"driver": Local})
	if err := os.RemoveAll(moved); err != nil {
		return fmt.Errorf("remove %s: error removing volume path '%s': %w", name, filepath.Join(s.dir, name), err)
	}
	return nil
}

// take takes a volume that nobody uses out of the store. What is left of it is in the folder that it names.
func (s *Store) take(name string) (moved string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(name)
	if err != nil {
		return "", err
	}
	if len(e.uses) > 0 {
		users := slices.Sorted(maps.Keys(e.uses))
		return "", fault.Errorf(errdefs.ErrConflict, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	// Not waited for: a mount of a network's file system may take long, and holds it.
	if !e.mounting.TryLock() {
		return "", fmt.Errorf("remove %s: volume has active mounts", name)
	}
	defer e.mounting.Unlock()
	if len(e.mounts) > 0 {
		return "", fmt.Errorf("remove %s: volume has active mounts", name)
	}
	if err := e.unmount(s.data(name)); err != nil {
		return "", fmt.Errorf("remove %s: %w", name, err)
	}
	moved, err = putAside(s.dir, name)
	if err != nil {
		return "", fmt.Errorf("remove %s: %w", name, err)
	}
	delete(s.byName, name)
	return moved, nil
}
