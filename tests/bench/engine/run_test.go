package engine_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/bench/side"
)

// runs measures containers from the command that makes them until nothing is left of them.
func (s both) runs(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	side.Pairs(out, "docker version, "+place, pairs, s.turns(func(e *engine) side.Cost { return e.command("version") }))
	side.Pairs(out, "docker run --rm true, "+place, pairs, s.turns(func(e *engine) side.Cost {
		return e.command("run", "--rm", "--network", "none", image, "true")
	}))
	s[0].lasted++ // The first port starts the netkeeper.
	side.Pairs(out, "bridge and a published port, "+place, pairs, s.turns(func(e *engine) side.Cost {
		return e.command("run", "--rm", "--publish", "8080:80", image, "true")
	}))
	side.Pairs(out, "run by API, "+place, pairs, s.turns(func(e *engine) side.Cost {
		return e.measure(func() error { return e.runByAPI(&api.HostConfig{NetworkMode: "none", AutoRemove: true}) })
	}))
	side.Pairs(out, "without --rm, removed, by API, "+place, pairs, s.turns(func(e *engine) side.Cost {
		return e.measure(func() error { return e.runByAPI(&api.HostConfig{NetworkMode: "none"}) })
	}))
	var ids [2][]string
	for i := range s {
		ids[i] = s[i].sleepers(1)
		defer s[i].remove(ids[i])
	}
	id := map[*engine]string{s[0]: ids[0][0], s[1]: ids[1][0]}
	side.Pairs(out, "docker exec true, "+place, pairs, s.turns(func(e *engine) side.Cost { return e.command("exec", id[e], "true") }))
	side.Pairs(out, "the same by API, "+place, pairs, s.turns(func(e *engine) side.Cost {
		return e.measure(func() error { return e.execByAPI(id[e]) })
	}))
}

// runByAPI does what docker run does: create, attach, wait, start, read all output; and removes the container if it does not go by
// itself.
func (e *engine) runByAPI(h *api.HostConfig) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &api.Config{Image: image, Cmd: []string{"true"}, AttachStdout: true, AttachStderr: true}, HostConfig: h})
	if err != nil {
		return err
	}
	attached, err := e.api.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	defer attached.Close()
	condition := api.WaitConditionNextExit
	if h.AutoRemove {
		condition = api.WaitConditionRemoved
	}
	wait := e.api.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: condition})
	if _, err := e.api.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, attached.Reader); err != nil {
		return err
	}
	select {
	case r := <-wait.Result:
		if r.StatusCode != 0 {
			return fmt.Errorf("it ended with %d", r.StatusCode)
		}
	case err := <-wait.Error:
		return err
	}
	if h.AutoRemove {
		return nil
	}
	_, err = e.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{})
	return err
}

// execByAPI does what docker exec does.
func (e *engine) execByAPI(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	x, err := e.api.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: []string{"true"}, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return err
	}
	attached, err := e.api.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
	if err != nil {
		return err
	}
	defer attached.Close()
	if _, err := io.Copy(io.Discard, attached.Reader); err != nil {
		return err
	}
	r, err := e.api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{})
	if err == nil && r.ExitCode != 0 {
		err = fmt.Errorf("it ended with %d", r.ExitCode)
	}
	return err
}
