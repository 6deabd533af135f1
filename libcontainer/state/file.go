package state

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/internal/jsonread"
)

// maxFile bounds what is read back: far above any real config.json, far below what would
// hurt.
const maxFile = 64 << 20

// errNotRegular tells of a directory, FIFO or device where a file should be.
const errNotRegular = constError("not a regular file")

// Load reads state.json. It returns ErrIncomplete when there is none, and *DamagedError
// when it is of no use.
func (d *Dir) Load() (*State, error) {
	text, err := d.read(stateFile)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrIncomplete
	}
	if err == errNotRegular || err == unix.ELOOP || err == unix.EFBIG {
		return nil, &DamagedError{Path: d.path + "/" + stateFile, Err: err}
	}
	if err != nil {
		return nil, fault.StateFailed.Errorf("read %s/%s: %w", d.path, stateFile, err)
	}
	s, r := new(State), jsonread.New(text)
	if r.NotNull() {
		decodeState(r, s)
	}
	err = r.End("")
	switch {
	case s.Version > Version: // whose fields may have other types
		err = ErrNewer
	case err != nil:
	case s.Version < 1:
		err = constError("version is missing")
	case s.ID != d.id:
		err = fmt.Errorf("belongs to container %q", s.ID)
	default:
		return s, nil
	}
	return nil, &DamagedError{Path: d.path + "/" + stateFile, Err: err}
}

// Save replaces state.json, so that a reader sees the old one or the new one and a crash
// or a full disk leaves one of them. It sets s.Version. The caller holds the lock.
func (d *Dir) Save(s *State) error {
	s.Version = Version
	d.buf = appendState(d.buf[:0], s)
	return d.replace(stateFile, newState, d.buf)
}

// SaveConfig keeps a copy of config.json, byte for byte. The caller holds the lock.
func (d *Dir) SaveConfig(raw []byte) error {
	return d.replace(configFile, newConfig, raw)
}

// Config returns the copy of config.json. It returns ErrIncomplete when there is none.
func (d *Dir) Config() ([]byte, error) {
	text, err := d.read(configFile)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrIncomplete
	}
	if err != nil {
		return nil, fault.StateFailed.Errorf("read %s/%s: %w", d.path, configFile, err)
	}
	return text, nil
}

// read returns a whole file of the directory; the error is a bare errno or says it all.
func (d *Dir) read(name string) ([]byte, error) {
	// Without O_NONBLOCK a FIFO by that name would hang the reader.
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNotRegular
	}
	if st.Size > maxFile {
		return nil, unix.EFBIG
	}
	// A file is never changed after its rename, so its size is final.
	text := make([]byte, st.Size)
	for done := 0; done < len(text); {
		n, err := unix.Read(fd, text[done:])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return text[:done], nil
		}
		done += n
	}
	return text, nil
}

// replace writes a file under its temporary name, syncs and renames it. The directory is
// not synced: that would make the new name outlive a power loss, which the container
// doesn't, and costs 0.3 ms on ext4. The file's sync keeps the name from ever being that of
// an empty file.
func (d *Dir) replace(name, temporary string, text []byte) error {
	err := d.write(temporary, text)
	if err == nil {
		if err = unix.Renameat(d.fd, temporary, d.fd, name); err != nil {
			err = fault.StateFailed.Errorf("rename to %s/%s: %w", d.path, name, err)
		}
	}
	if err != nil {
		// The first error is the one to report; Remove knows the name if this fails too.
		_ = unix.Unlinkat(d.fd, temporary, 0)
	}
	return err
}

// write makes and syncs a new file. One left behind by a command that was killed is
// removed first; the lock says that nobody is writing it.
func (d *Dir) write(name string, text []byte) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(d.fd, name, flags, 0o600)
	if err == unix.EEXIST {
		if err = unix.Unlinkat(d.fd, name, 0); err == nil {
			fd, err = unix.Openat(d.fd, name, flags, 0o600)
		}
	}
	if err != nil {
		return fault.StateFailed.Errorf("create %s/%s: %w", d.path, name, err)
	}
	for len(text) > 0 && err == nil {
		var n int
		n, err = unix.Write(fd, text)
		text = text[max(n, 0):]
	}
	if err == nil {
		err = unix.Fsync(fd)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fault.StateFailed.Errorf("write %s/%s: %w", d.path, name, err)
	}
	return nil
}
