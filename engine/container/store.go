package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Store keeps records in folders named by id, and knows them by heart. It may be used by several goroutines; none
// waits for another one's file unless both change the same container.
type Store struct {
	dir string

	mu   sync.RWMutex
	byID map[string]*entry
	// byName has the names of containers and those that are reserved for ones to come.
	byName map[string]string // name → id
	// changed is closed and replaced whenever a record changed: it wakes who waits for a state.
	changed map[string]chan struct{}
}

// entry is what the store has of one container.
type entry struct {
	// operation is Lock's.
	operation sync.Mutex
	// write is held while the files change: by Update and Delete.
	write sync.Mutex
	// current is guarded by Store.mu; what it points to never changes.
	current *Container
}

// Open reads all records of a folder, which is made when it is missing. Records that cannot be read are told as
// problems and left where they are; Orphans are folders without a record.
func Open(dir string) (s *Store, problems []error, err error) {
	if err := os.MkdirAll(dir, 0o710); err != nil {
		return nil, nil, err
	}
	s = &Store{dir: dir, byID: map[string]*entry{}, byName: map[string]string{}, changed: map[string]chan struct{}{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		c, err := read(filepath.Join(dir, e.Name()))
		switch {
		case errors.Is(err, errUnfinished):
			continue
		case err == nil && c.ID != e.Name():
			err = fmt.Errorf("holds the record of %q", c.ID)
		case err == nil && s.byName[c.Name] != "":
			err = fmt.Errorf("the name %q is container %s's, too", c.Name, s.byName[c.Name])
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("container %s: %w", e.Name(), err))
			continue
		}
		s.byID[c.ID] = &entry{current: c}
		s.byName[c.Name] = c.ID
	}
	return s, problems, nil
}

// Dir is the folder of a container: its record, its log, the files that are bound into it.
func (s *Store) Dir(id string) string { return filepath.Join(s.dir, id) }

// Orphans are the ids of folders without a record: creates that never finished, removes that nearly did. It may only
// be asked before the first Create.
func (s *Store) Orphans() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if _, err := read(s.Dir(e.Name())); errors.Is(err, errUnfinished) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Sweep removes the folder of an orphan.
func (s *Store) Sweep(id string) error {
	s.mu.RLock()
	_, known := s.byID[id]
	s.mu.RUnlock()
	if known || id == "" || id != filepath.Base(id) {
		return fmt.Errorf("%q is no orphan", id)
	}
	return os.RemoveAll(s.Dir(id))
}

// Reserve keeps a name for a container that is about to be created. It fails with a conflict when the name is taken.
// Create makes it the container's; Unreserve gives it back.
func (s *Store) Reserve(id, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserve(id, name)
}

func (s *Store) reserve(id, name string) error {
	if other, taken := s.byName[name]; taken && other != id {
		return fault.Errorf(errdefs.ErrAlreadyExists, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, other)
	}
	s.byName[name] = id
	return nil
}

// Unreserve gives a reserved name back, unless it has become a container's.
func (s *Store) Unreserve(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byID[id]; ok && e.current.Name == name {
		return
	}
	if s.byName[name] == id {
		delete(s.byName, name)
	}
}

// Create adds a record; its name is reserved, if it was not before. It fails with a conflict when the name is taken,
// and leaves no folder when it fails.
func (s *Store) Create(c *Container) error {
	if err := s.Reserve(c.ID, c.Name); err != nil {
		return err
	}
	if err := create(s.dir, c); err != nil {
		s.Unreserve(c.ID, c.Name)
		return errors.Join(err, os.RemoveAll(s.Dir(c.ID)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[c.ID] = &entry{current: c}
	s.wake(c.ID)
	return nil
}

// Get finds a container by id, name, the beginning of an id that only one has, or as a linked one knows it
// ("parent/alias").
func (s *Store) Get(ref string) (*Container, error) {
	if ref == "" {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid name or ID supplied: %q", ref)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.byLink(ref); c != nil {
		return c, nil
	}
	return s.find(ref)
}

func (s *Store) find(ref string) (*Container, error) {
	if e, ok := s.byID[ref]; ok {
		return e.current, nil
	}
	if e, ok := s.byID[s.byName[strings.TrimPrefix(ref, "/")]]; ok {
		return e.current, nil
	}
	return s.byPrefix(ref)
}

func (s *Store) byPrefix(ref string) (*Container, error) {
	var found *Container
	for id, e := range s.byID {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "multiple IDs found with provided prefix: %s", ref)
		}
		found = e.current
	}
	if found == nil {
		return nil, notFound(ref)
	}
	return found, nil
}

func notFound(ref string) error {
	return fault.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
}

// List is all containers, the newest first.
func (s *Store) List() []*Container {
	s.mu.RLock()
	list := make([]*Container, 0, len(s.byID))
	for _, e := range s.byID {
		list = append(list, e.current)
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b *Container) int {
		if d := b.Created.Compare(a.Created); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

// Lock makes the caller the only one who works on a container, until unlock. It is for whole operations (start, stop,
// remove); Update needs no lock. What was read before may be old: ask again.
func (s *Store) Lock(id string) (unlock func()) {
	s.mu.RLock()
	e, ok := s.byID[id]
	s.mu.RUnlock()
	if !ok {
		return func() {}
	}
	e.operation.Lock()
	return e.operation.Unlock
}

// Update changes a copy of the record and puts it in the record's place, on disk first. What the client asked for is
// forced to the disk; a change of what became of the container is not: after a power loss nothing runs anyway.
func (s *Store) Update(id string, change func(*Container) error) (*Container, error) {
	e, err := s.open(id)
	if err != nil {
		return nil, err
	}
	defer e.write.Unlock()
	old := e.current // Only who holds write replaces it.
	c := old.clone()
	if err := change(c); err != nil {
		return nil, err
	}
	if c.ID != old.ID {
		return nil, fmt.Errorf("container %s: an update changed the id", old.ID)
	}
	if err := s.Reserve(id, c.Name); err != nil {
		return nil, err
	}
	if err := s.write(old, c); err != nil {
		if c.Name != old.Name {
			s.Unreserve(id, c.Name)
		}
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Name != old.Name {
		delete(s.byName, old.Name)
	}
	e.current = c
	s.wake(id)
	return c, nil
}

// open finds a container's entry and locks its files.
func (s *Store) open(id string) (*entry, error) {
	s.mu.RLock()
	e, ok := s.byID[id]
	s.mu.RUnlock()
	if !ok {
		return nil, notFound(id)
	}
	e.write.Lock()
	s.mu.RLock()
	_, ok = s.byID[id]
	s.mu.RUnlock()
	if !ok { // It was deleted meanwhile.
		e.write.Unlock()
		return nil, notFound(id)
	}
	return e, nil
}

// write writes those of the two files that an update changed.
func (s *Store) write(old, c *Container) error {
	dir := s.Dir(c.ID)
	if !reflect.DeepEqual(old.definition(), c.definition()) {
		if err := writeDefinition(dir, c); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(old.progress(), c.progress()) {
		// Whether it ran and whether a client stopped it decide if it comes back after a reboot.
		decides := old.StopRequested != c.StopRequested || old.Started != c.Started
		return writeProgress(dir, c, decides && c.comesBack())
	}
	return nil
}

// Changed is closed at the next change of a container, and when it goes.
func (s *Store) Changed(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, ok := s.changed[id]
	if !ok {
		ch = make(chan struct{})
		if _, known := s.byID[id]; !known {
			close(ch)
			return ch
		}
		s.changed[id] = ch
	}
	return ch
}

// Delete forgets a container and removes its folder.
func (s *Store) Delete(id string) error {
	e, err := s.open(id)
	if err != nil {
		return err
	}
	defer e.write.Unlock()
	// The record goes first: what is left of the folder after a crash is swept.
	if err := os.Remove(filepath.Join(s.Dir(id), definitionFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.RemoveAll(s.Dir(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
	delete(s.byName, e.current.Name)
	s.wake(id)
	return err
}

func (s *Store) wake(id string) {
	if ch, ok := s.changed[id]; ok {
		close(ch)
		delete(s.changed, id)
	}
}
