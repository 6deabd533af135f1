package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A container has two files. What it was asked to be is written when a client says so, and forced to the disk. What
// became of it is written at each start and exit, without waiting for the disk: it is small, and when a power loss
// took it, nothing runs anyway.
const (
	definitionFile = "container.json"
	progressFile   = "state.json"
)

// errUnfinished says that a folder has no record: a create that never finished, or a remove that nearly did.
var errUnfinished = errors.New("no record")

// definition is what a container was asked to be.
type definition Container

// definition is the record without what became of the container.
func (c *Container) definition() *definition {
	d := definition(*c)
	d.StopRequested, d.Started, d.RestartCount, d.State = false, false, 0, State{}
	return &d
}

// progress is what became of a container.
type progress struct {
	StopRequested, Started bool
	RestartCount           int
	State                  State
}

func (c *Container) progress() *progress {
	return &progress{StopRequested: c.StopRequested, Started: c.Started, RestartCount: c.RestartCount, State: c.State}
}

// comesBack says that a restart policy starts it after a reboot.
func (c *Container) comesBack() bool {
	return c.HostConfig != nil && (c.HostConfig.RestartPolicy.IsAlways() || c.HostConfig.RestartPolicy.IsUnlessStopped())
}

// temporary says that it would be removed after a power loss anyway: losing it then is as good.
func (c *Container) temporary() bool { return c.HostConfig != nil && c.HostConfig.AutoRemove }

// clone copies what Update may change in place: all of State. Everything else that is a pointer, a map or a slice is
// replaced, not changed, by who updates it.
func (c *Container) clone() *Container {
	d := *c
	if c.State.Health != nil {
		h := *c.State.Health
		h.Log = append(h.Log[:0:0], h.Log...)
		d.State.Health = &h
	}
	return &d
}

func read(dir string) (*Container, error) {
	var c Container
	err := readJSON(filepath.Join(dir, definitionFile), &c)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errEmpty) {
		return nil, errUnfinished
	}
	if err != nil {
		return nil, err
	}
	var p progress
	switch err := readJSON(filepath.Join(dir, progressFile), &p); {
	case errors.Is(err, fs.ErrNotExist):
		// It never started.
	case err != nil:
		// A power loss took it. Nobody knows how it ended, or whether it had begun.
		p = progress{Started: true, State: State{Status: Exited, ExitCode: unknownCode, StartedAt: c.Created, FinishedAt: time.Now().UTC()}}
		fallthrough
	default:
		c.StopRequested, c.Started, c.RestartCount, c.State = p.StopRequested, p.Started, p.RestartCount, p.State
	}
	if c.State.Status == "" {
		c.State.Status = Created
	}
	return &c, nil
}

// unknownCode is the exit code of containers whose end nobody saw.
const unknownCode = 255

// errEmpty says that a file was made but never written: its rename was on the disk before its content.
var errEmpty = errors.New("empty")

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errEmpty
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// create makes the folder of a container in dir with its files.
func create(dir string, c *Container) error {
	own := filepath.Join(dir, c.ID)
	if err := os.MkdirAll(own, 0o710); err != nil {
		return err
	}
	if *c.progress() != (progress{State: State{Status: Created}}) {
		if err := writeProgress(own, c, !c.temporary()); err != nil {
			return err
		}
	}
	if err := writeDefinition(own, c); err != nil || c.temporary() {
		return err
	}
	return syncDir(dir)
}

func writeDefinition(dir string, c *Container) error {
	sync := !c.temporary()
	if err := replace(filepath.Join(dir, definitionFile), c.definition(), sync); err != nil || !sync {
		return err
	}
	return syncDir(dir)
}

func writeProgress(dir string, c *Container, sync bool) error {
	return replace(filepath.Join(dir, progressFile), c.progress(), sync)
}

// replace writes a file as a whole: a crash of the program leaves the old or the new one, and with sync, a power loss
// does, too.
func replace(path string, v any, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// One writer at a time has the container's lock, so that the name can be the same each time: a crash leaves one file
	// at most.
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}

// syncDir forces the names in a folder to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
