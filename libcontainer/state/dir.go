package state

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// StartSocket is the name of the socket in a container's directory on which a created
// container waits for `start`.
const StartSocket = "start.sock"

// NotifyDir is a directory with the container's end of sd_notify(3), NotifySocket the
// socket in it.
const (
	NotifyDir    = "notify"
	NotifySocket = "notify.sock"
)

// The other files of a container's directory. The new* ones exist only while a file is
// being replaced, or after a command was killed in that moment.
const (
	stateFile  = "state.json"
	configFile = "config.json"
	newState   = ".state.json.new"
	newConfig  = ".config.json.new"
)

// Dir is the open directory of a container, ROOT/ID.
//
// # Locking
//
// There is one lock per container, flock(2) on its directory, and no command takes two
// of them, so they can't deadlock. It orders the commands that change state.json or remove
// it: create holds it from the beginning to the end, start and delete around their check
// of the status and what follows from it. Nobody else takes it: state.json is replaced by
// rename, so state, list, kill, exec, pause and ps read a whole one without a lock, and
// work while a create or start hangs in a hook. delete --force kills first, by the pid it
// read without the lock, which ends a hanging start, and locks after that.
// A lock is waited for only so long (ErrBusy).
//
// The kernel drops the lock when the last copy of the descriptor is closed, also by
// SIGKILL. A forked child has a copy until it executes: it must close FD first thing.
// Close drops the lock even then.
//
// Between mkdir and lock in Create another command may lock, find an incomplete container
// and remove it. Hence whoever got the lock looks whether the directory is still the one
// at its path: Lock reports ErrNotExist if not, and Create begins again.
type Dir struct {
	fd     int
	id     string
	path   string // ROOT/ID
	locked bool
	buf    []byte // the bytes of the last Save, used again
}

// createWait is how long Create waits for whoever took the fresh directory for an abandoned
// one; it only needs to remove it.
const createWait = 5 * time.Second

// Create makes the directory of a new container, and root (mode 0700) where it is missing,
// and locks it. It returns ErrExist when there is one, and ErrInvalidID. Of several
// callers at the same time one succeeds.
func Create(root, id string) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	path := root + "/" + id
	// Each further round needs another command that removed the directory in that instant.
	for range 100 {
		d, err := makeDir(root, path, id)
		if err == nil {
			if err = d.Lock(createWait); err == nil {
				return d, nil
			}
			err = errors.Join(err, d.Close())
		}
		if !errors.Is(err, ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("create %s: others keep removing it: %w", path, ErrBusy)
}

// makeDir makes and opens the directory, not yet locked.
func makeDir(root, path, id string) (*Dir, error) {
	// 0711 is the mode that runc gives it.
	err := unix.Mkdir(path, 0o711)
	if errors.Is(err, unix.ENOENT) {
		if err = makeRoot(root); err != nil {
			return nil, err
		}
		err = unix.Mkdir(path, 0o711)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil, ErrExist
	}
	if err != nil {
		return nil, fault.StateFailed.Errorf("mkdir %s: %w", path, err)
	}
	return openDir(path, id)
}

// makeRoot makes the directory and its missing parents.
func makeRoot(root string) error {
	for i := 1; i <= len(root); i++ {
		if i < len(root) && root[i] != '/' {
			continue
		}
		if err := unix.Mkdir(root[:i], 0o700); err != nil && err != unix.EEXIST {
			return fault.StateFailed.Errorf("mkdir %s: %w", root[:i], err)
		}
	}
	return nil
}

// Open opens the directory of a container without a lock: enough to read what is in it.
// It returns ErrNotExist when there is none, and ErrInvalidID.
func Open(root, id string) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	return openDir(root+"/"+id, id)
}

func openDir(path, id string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, fault.StateFailed.Errorf("open %s: %w", path, err)
	}
	return &Dir{fd: fd, id: id, path: path}, nil
}

// Lock makes the caller the only one that changes the container. It waits at most the
// given time and then returns ErrBusy; when the container was removed meanwhile it
// returns ErrNotExist.
func (d *Dir) Lock(wait time.Duration) error {
	const first, longest = time.Millisecond, 20 * time.Millisecond
	pause := first
	for {
		err := unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if err != unix.EWOULDBLOCK {
			return fault.StateFailed.Errorf("flock %s: %w", d.path, err)
		}
		if wait <= 0 {
			return fmt.Errorf("lock %s: %w", d.path, ErrBusy)
		}
		pause = min(pause, wait)
		time.Sleep(pause)
		wait -= pause
		pause = min(2*pause, longest)
	}
	d.locked = true
	var opened, linked unix.Stat_t
	if err := unix.Fstat(d.fd, &opened); err != nil {
		return fault.StateFailed.Errorf("stat %s: %w", d.path, err)
	}
	err := unix.Lstat(d.path, &linked)
	if err == unix.ENOENT || err == nil && (linked.Ino != opened.Ino || linked.Dev != opened.Dev) {
		return ErrNotExist
	}
	if err != nil {
		return fault.StateFailed.Errorf("stat %s: %w", d.path, err)
	}
	return nil
}

// Unlock lets others have the container while the directory stays open.
func (d *Dir) Unlock() error {
	d.locked = false
	if err := unix.Flock(d.fd, unix.LOCK_UN); err != nil {
		return fault.StateFailed.Errorf("unlock %s: %w", d.path, err)
	}
	return nil
}

// Path is the directory's path, ROOT/ID.
func (d *Dir) Path() string { return d.path }

// FD is the directory's descriptor, open for reading and close-on-exec. It belongs to d.
func (d *Dir) FD() int { return d.fd }

// Close drops the lock, if any, and closes the directory. A copy of the descriptor in a
// forked child doesn't keep the lock. A second call does nothing.
func (d *Dir) Close() error {
	if d.fd < 0 {
		return nil
	}
	var err error
	if d.locked {
		err = unix.Flock(d.fd, unix.LOCK_UN)
	}
	if closeErr := unix.Close(d.fd); err == nil {
		err = closeErr
	}
	d.fd, d.locked = -1, false
	if err != nil {
		return fault.StateFailed.Errorf("close %s: %w", d.path, err)
	}
	return nil
}

// Remove deletes the container's files and its directory. What is already gone is no
// error, so it completes a Remove that was killed. state.json is the last file to go:
// until then the container is one that stopped. The caller holds the lock.
func (d *Dir) Remove() error {
	if err := d.removeNotify(); err != nil {
		return fault.StateFailed.Errorf("remove %s/%s: %w", d.path, NotifyDir, err)
	}
	for _, name := range [...]string{newState, newConfig, StartSocket, configFile, stateFile} {
		if err := unix.Unlinkat(d.fd, name, 0); err != nil && err != unix.ENOENT {
			return fault.StateFailed.Errorf("remove %s/%s: %w", d.path, name, err)
		}
	}
	if err := unix.Rmdir(d.path); err != nil && err != unix.ENOENT {
		return fault.StateFailed.Errorf("remove %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) removeNotify() error {
	err := unix.Unlinkat(d.fd, NotifyDir, unix.AT_REMOVEDIR)
	if err == unix.ENOTEMPTY {
		if err = unix.Unlinkat(d.fd, NotifyDir+"/"+NotifySocket, 0); err == nil || err == unix.ENOENT {
			err = unix.Unlinkat(d.fd, NotifyDir, unix.AT_REMOVEDIR)
		}
	}
	if err == unix.ENOENT {
		return nil
	}
	return err
}
