package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Bundle is one container's folder. It lies on a tmpfs: a file is written whole by rename(2), and is not synced.
type Bundle struct{ dir string }

// Open looks at the folder; dir may be relative.
func Open(dir string) (*Bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("bundle: %s is not a directory", dir)
	}
	return &Bundle{dir: dir}, nil
}

// Path is the folder, absolute.
func (b *Bundle) Path() string { return b.dir }

// Rootfs is where the daemon wants the root file system to be mounted, and unmounts it.
func (b *Bundle) Rootfs() string { return b.file("rootfs") }

// RuntimeLog is the file for the OCI runtime's --log.
func (b *Bundle) RuntimeLog() string { return b.file("log.json") }

// ShimLog is a fifo from which the daemon copies the shim's log to its own.
func (b *Bundle) ShimLog() string { return b.file("log") }

// PidFile is where the OCI runtime writes the number of the container's first process.
func (b *Bundle) PidFile() string { return b.file("init.pid") }

// Pid reads the number from the PidFile; the error is fs.ErrNotExist before create has come as far.
func (b *Bundle) Pid() (int, error) { return ReadPid(b.PidFile()) }

// ReadPid reads a pid file; the error is fs.ErrNotExist where there is none.
func ReadPid(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s: %q is not a process id", file, text)
	}
	return pid, nil
}

// SetAddress leaves the socket's URL to daemons before 2.0, which look for it when they start anew.
func (b *Bundle) SetAddress(address string) error { return b.write("address", []byte(address)) }

// Address reads what SetAddress wrote.
func (b *Bundle) Address() (string, error) {
	address, err := os.ReadFile(b.file("address"))
	return string(address), err
}

func (b *Bundle) file(name string) string { return filepath.Join(b.dir, name) }

// write replaces a file by another in one step.
func (b *Bundle) write(name string, content []byte) error {
	path, temp := b.file(name), b.file("."+name+".new")
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	return nil
}

func removeIfThere(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
