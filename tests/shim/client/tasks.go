package client

import (
	"context"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/api/types"
)

const (
	containers = "/containerd.services.containers.v1.Containers/"
	tasks      = "/containerd.services.tasks.v1.Tasks/"
	// specType and the others are the names under which containerd sends the spec's objects as JSON.
	specType      = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
	processType   = "types.containerd.io/opencontainers/runtime-spec/1/Process"
	resourcesType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
)

// Container is a container's record: services/containers/v1.
type Container struct {
	ID      string
	Runtime string    // a name, such as io.containerd.gantry.v2, or a shim's path
	Options known.Any // of the runtime
	Spec    []byte    // config.json
}

// IO says where a process's stdio goes, as in the task service.
type IO struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
}

// Exit is how a process ended.
type Exit struct {
	Pid, Code uint32
	At        time.Time
}

// Version asks for the daemon's version, to see whether it answers.
func (c *Client) Version(ctx context.Context) error {
	_, err := c.call(ctx, "/containerd.services.version.v1.Version/Version", nil)
	return err
}

// CreateContainer makes the record.
func (c *Client) CreateContainer(ctx context.Context, k Container) error {
	runtime := message(nil).text(1, k.Runtime).any(2, k.Options.TypeUrl, k.Options.Value)
	record := message(nil).text(1, k.ID).bytes(4, runtime).any(5, specType, k.Spec)
	_, err := c.call(ctx, containers+"Create", message(nil).bytes(1, record))
	return err
}

// DeleteContainer removes it.
func (c *Client) DeleteContainer(ctx context.Context, id string) error {
	_, err := c.call(ctx, containers+"Delete", message(nil).text(1, id))
	return err
}

// CreateTask starts a shim and has it create the container; it returns its process.
func (c *Client) CreateTask(ctx context.Context, id string, io IO, rootfs ...*types.Mount) (pid uint32, err error) {
	request := message(nil).text(1, id)
	for _, m := range rootfs {
		b, err := m.MarshalVT()
		if err != nil {
			return 0, err
		}
		request = request.bytes(3, b)
	}
	request = request.text(4, io.Stdin).text(5, io.Stdout).text(6, io.Stderr).flag(7, io.Terminal)
	return pidOf(c.call(ctx, tasks+"Create", request))(2)
}

// Start starts the container's process, or one made by Exec.
func (c *Client) Start(ctx context.Context, id, exec string) (pid uint32, err error) {
	return pidOf(c.call(ctx, tasks+"Start", message(nil).text(1, id).text(2, exec)))(1)
}

// pidOf reads a field with a process's number.
func pidOf(answer []byte, err error) func(field int) (uint32, error) {
	return func(field int) (pid uint32, _ error) {
		if err != nil {
			return 0, err
		}
		return pid, fields(answer, func(f int, n uint64, _ []byte) error {
			if f == field {
				pid = uint32(n)
			}
			return nil
		})
	}
}

// Exec prepares another process, a process object of the spec in JSON; Start starts it.
func (c *Client) Exec(ctx context.Context, id, exec string, process []byte, io IO) error {
	_, err := c.call(ctx, tasks+"Exec", message(nil).text(1, id).text(2, io.Stdin).text(3, io.Stdout).text(4, io.Stderr).
		flag(5, io.Terminal).any(6, processType, process).text(7, exec))
	return err
}

// Get returns a process's state.
func (c *Client) Get(ctx context.Context, id, exec string) (*tasktypes.Process, error) {
	answer, err := c.call(ctx, tasks+"Get", message(nil).text(1, id).text(2, exec))
	if err != nil {
		return nil, err
	}
	p := &tasktypes.Process{}
	return p, fields(answer, func(_ int, _ uint64, data []byte) error { return p.UnmarshalVT(data) })
}

// List returns the states of all tasks.
func (c *Client) List(ctx context.Context) ([]*tasktypes.Process, error) {
	answer, err := c.call(ctx, tasks+"List", nil)
	if err != nil {
		return nil, err
	}
	var list []*tasktypes.Process
	return list, fields(answer, func(_ int, _ uint64, data []byte) error {
		p := &tasktypes.Process{}
		list = append(list, p)
		return p.UnmarshalVT(data)
	})
}

// Kill sends a signal.
func (c *Client) Kill(ctx context.Context, id, exec string, signal int) error {
	_, err := c.call(ctx, tasks+"Kill", message(nil).text(1, id).text(2, exec).number(3, uint64(signal)))
	return err
}

// Wait waits for the end of a process. The answer has no Pid.
func (c *Client) Wait(ctx context.Context, id, exec string) (Exit, error) {
	answer, err := c.call(ctx, tasks+"Wait", message(nil).text(1, id).text(2, exec))
	if err != nil {
		return Exit{}, err
	}
	var e Exit
	return e, fields(answer, func(f int, n uint64, data []byte) error {
		switch f {
		case 1:
			e.Code = uint32(n)
		case 2:
			return e.ended(data)
		}
		return nil
	})
}

// Delete deletes a container's task, or a process made by Exec.
func (c *Client) Delete(ctx context.Context, id, exec string) (Exit, error) {
	method := "Delete"
	if exec != "" {
		method = "DeleteProcess"
	}
	answer, err := c.call(ctx, tasks+method, message(nil).text(1, id).text(2, exec))
	if err != nil {
		return Exit{}, err
	}
	var e Exit
	return e, fields(answer, func(f int, n uint64, data []byte) error {
		switch f {
		case 2:
			e.Pid = uint32(n)
		case 3:
			e.Code = uint32(n)
		case 4:
			return e.ended(data)
		}
		return nil
	})
}

func (e *Exit) ended(timestamp []byte) error {
	t := &known.Timestamp{}
	err := t.UnmarshalVT(timestamp)
	e.At = time.Unix(t.Seconds, int64(t.Nanos))
	return err
}

// Simple makes one of the calls that take a container's id and answer nothing that is wanted: Pause, Resume, ListPids.
func (c *Client) Simple(ctx context.Context, method, id string) error {
	_, err := c.call(ctx, tasks+method, message(nil).text(1, id))
	return err
}

// Update changes a container's limits: resources of the spec, in JSON.
func (c *Client) Update(ctx context.Context, id string, resources []byte) error {
	_, err := c.call(ctx, tasks+"Update", message(nil).text(1, id).any(2, resourcesType, resources))
	return err
}
