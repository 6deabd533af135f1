package external

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The files beside CRIU's images. The first has the form of runc's.
const (
	descriptorsFile = "descriptors.json"
	mountsFile      = "mounts.json"
)

// ErrNoMounts tells that the images were not made by this runtime.
const ErrNoMounts = constError(mountsFile + " is missing")

// constError is an error that needs no work at program start.
type constError string

func (e constError) Error() string { return string(e) }

// SaveMounts keeps the answer of Find beside the images in a directory.
func SaveMounts(dir int, mounts []Mount) error { return save(dir, mountsFile, mounts) }

// LoadMounts returns what SaveMounts has kept, or ErrNoMounts.
func LoadMounts(dir int) ([]Mount, error) {
	var mounts []Mount
	err := load(dir, mountsFile, &mounts)
	if errors.Is(err, unix.ENOENT) {
		err = ErrNoMounts
	}
	return mounts, err
}

// SaveDescriptors keeps the answer of Descriptors beside the images in a directory.
func SaveDescriptors(dir int, keys []string) error { return save(dir, descriptorsFile, keys) }

// LoadDescriptors returns what SaveDescriptors, or runc, has kept.
func LoadDescriptors(dir int) ([]string, error) {
	var keys []string
	err := load(dir, descriptorsFile, &keys)
	return keys, err
}

func save(dir int, name string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func load(dir int, name string, into any) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	const limit = 16 << 20 // far above what any container has
	text, err := io.ReadAll(io.LimitReader(f, limit))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
