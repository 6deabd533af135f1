package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/store/boltfile"
)

// Bytes of a database file that are given blocks of the disk ahead of use. A file beside the database, freed when the
// disk is full, would be a simpler reserve; but a container that fills the disk takes what is freed before we do.
const (
	roomMost  = 256 << 10
	roomLeast = 64 << 10
)

// room keeps space for a database's next transactions, inside its file, so that on a full disk things can still be
// deleted: bbolt never writes in place, so a deletion needs space, too. What needs more space than that is refused
// while there is no more; deletions are not.
type room struct {
	path  string
	step  int64 // bytes ahead
	mu    sync.Mutex
	f     *os.File
	given int64 // bytes of the file that have their blocks
}

// openRoom opens one for a database file that exists, and gives it its first space; a full disk is no error.
func openRoom(path string) (*room, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r := &room{path: path, step: roomMost, f: f}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil {
		size := int64(st.Blocks) * st.Bsize //nolint:gosec // no disk is that large
		r.step = min(max(size/64, roomLeast), roomMost)
	}
	if err := r.extend(); err != nil {
		slog.Warn("the disk is full: things can be deleted only", "file", path, "error", err)
	}
	return r, nil
}

func (r *room) close() error { return r.f.Close() }

// extend gives the database its space ahead; the error is errdefs.ErrResourceExhausted where there is none.
func (r *room) extend() error {
	st, err := r.f.Stat()
	if err != nil {
		return err
	}
	trees, err := boltfile.Trees(r.f, st.Size())
	if err != nil {
		return nil //nolint:nilerr // a new one, or one that is being written: the next call does it
	}
	used := trees[0].Used()
	return r.extendTo(used)
}

// extendTo is extend for a database that uses so many bytes.
func (r *room) extendTo(used int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ahead := max(r.step, min(used/4, 64*r.step))
	if r.given >= used+ahead/2 {
		return nil
	}
	err := unix.Fallocate(int(r.f.Fd()), 0, 0, used+ahead)
	if err == nil {
		err = r.f.Sync()
	}
	if noSpace(err) && r.allocated() >= used+ahead/2 {
		return nil // another run of the manager has given it
	}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		r.given = 1 << 62 // this file system cannot: don't ask it again
		return nil
	case err != nil:
		return fullError("room for metadata", os.NewSyscallError("fallocate", err))
	}
	r.given = used + ahead
	return nil
}

// allocated is how many bytes from the file's beginning have their blocks, if that is all of them; otherwise 0.
func (r *room) allocated() int64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(r.f.Fd()), &st); err != nil || st.Blocks*512 < st.Size {
		return 0
	}
	r.given = st.Size
	return st.Size
}

// noSpace says whether an error comes of a full disk, or quota; bbolt loses the error's type on some ways.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		err != nil && (strings.Contains(err.Error(), unix.ENOSPC.Error()) || strings.Contains(err.Error(), unix.EDQUOT.Error()))
}

// fullError gives errors of a full disk the type that clients see as such, and leaves others as they are.
func fullError(what string, err error) error {
	if !noSpace(err) || errdefs.IsResourceExhausted(err) {
		return err
	}
	// One error is wrapped, not two: clients see two as two lines.
	return fmt.Errorf("%s: %v: %w", what, err, errdefs.ErrResourceExhausted) //nolint:errorlint // see above
}

// database is what is needed of bbolt's.
type database interface {
	View(fn func(*bolt.Tx) error) error
	Update(fn func(*bolt.Tx) error) error
	Stats() bolt.Stats
	Info() *bolt.Info
	Close() error
}

// transactor is a metadata database's connection to bbolt, which refuses to grow on a full disk, unless somebody is
// making space.
type transactor struct {
	db      database
	room    *room
	freeing atomic.Int32 // calls of free that are under way
}

// View runs a transaction that reads.
func (t *transactor) View(fn func(*bolt.Tx) error) error { return t.db.View(fn) }

// Update runs a transaction that writes.
func (t *transactor) Update(fn func(*bolt.Tx) error) error {
	return fullError("metadata", t.db.Update(func(tx *bolt.Tx) error {
		if err := t.room.extendTo(tx.Size()); err != nil && t.freeing.Load() == 0 && t.freePages() < t.room.step {
			return err
		}
		return fn(tx)
	}))
}

// freePages is how many bytes the database does not use within those that it has reached.
func (t *transactor) freePages() int64 {
	return int64(t.db.Stats().FreePageN) * int64(t.db.Info().PageSize)
}

// Close closes the database.
func (t *transactor) Close() error { return errors.Join(t.room.close(), t.db.Close()) }

// free runs what makes space: its transactions may use the last of it.
func (t *transactor) free(op func() error) error {
	t.freeing.Add(1)
	defer t.freeing.Add(-1)
	return op()
}
