//go:build unix

package bundle

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// readConfig reads a config.json with plain system calls: an os.File would set up
// the poller, which a short-lived process would pay for and never use.
func readConfig(path string) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO must not wait for its writer, open(2).
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ENOENT) {
		return nil, fault.BundleUnreadable.Errorf("JSON specification file %s not found: %s: %w", ConfigFile, path, err)
	}
	if err != nil {
		return nil, fault.BundleUnreadable.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fault.BundleUnreadable.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fault.BundleUnreadable.Errorf("%s is not a regular file", path)
	}
	if st.Size > MaxConfigSize {
		return nil, fault.BundleUnreadable.Errorf("%s: %d bytes, more than the limit of %d", path, st.Size, MaxConfigSize)
	}
	return readAll(fd, path, int(st.Size))
}

// readAll reads a file to its end. A size that is no longer true is an error: half
// a config that happens to be JSON must not be taken for the whole.
func readAll(fd int, path string, size int) ([]byte, error) {
	buf := make([]byte, size+1) // one more, to see the end of file
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fault.BundleUnreadable.Errorf("read %s: %w", path, err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	if n != size {
		return nil, fault.BundleUnreadable.Errorf("%s changed while it was read", path)
	}
	if size == 0 {
		return nil, fault.BundleUnreadable.Errorf("%s is empty", path)
	}
	return buf[:n:n], nil
}

// openRetry is open(2) again after a signal, which slow file systems need.
func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
