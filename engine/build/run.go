package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/moby/api/pkg/stdcopy"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/images/changes"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// run runs a command in a container of the last image, and makes an image of what it changed.
func (s *stage) run(ctx context.Context, c *instructions.RunCommand, variables []string) error {
	if len(c.FlagsUsed) > 0 {
		return needsBuildKit("--" + c.FlagsUsed[0] + " option")
	}
	if len(c.Files) > 0 {
		return needsBuildKit("heredoc syntax")
	}
	command := s.CommandLine(c.ShellDependantCmdLine)
	recorded := s.args.recorded(variables, command)
	ran := changes.Clone(s.Config)
	ran.Cmd, ran.ArgsEscaped = recorded, false
	if len(recorded) > 0 {
		ran.Entrypoint = nil
	}
	if hit, err := s.cached(ctx, ran); hit || err != nil {
		return err
	}
	config := changes.Clone(s.Config)
	config.Cmd, config.Env = command, append(config.Env, variables...)
	if len(recorded) > 0 {
		config.Entrypoint = []string{""} // None, not the image's.
	}
	config.Healthcheck = &api.HealthConfig{Test: []string{"NONE"}}
	id, err := s.create(ctx, config)
	if err != nil {
		return err
	}
	code, err := s.runContainer(ctx, id)
	if err != nil {
		return err
	}
	if code != 0 {
		return &jsonstream.Error{Code: code, Message: fmt.Sprintf("The command '%s' returned a non-zero code: %d", strings.Join(command, " "), code)}
	}
	return s.layer(ctx, id, ran)
}

// errCancelled is of a step that was killed because its client went away.
var errCancelled = errors.New("build cancelled")

// runContainer lets a container run to its end, with its output to the client, and returns its exit code.
func (b *build) runContainer(ctx context.Context, id string) (int, error) {
	here, there, err := pair()
	if err != nil {
		return 0, err
	}
	defer here.Close()
	if _, err := b.Streams.Attach(ctx, stdio.Key{Container: id}, stdio.Attach{Stdout: true, Stderr: true, Mux: true}, there); err != nil {
		return 0, err
	}
	if err := b.Containers.Start(ctx, id); err != nil {
		return 0, err
	}
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		b.kill(ctx, id)
	})
	defer func() {
		if !stop() {
			<-killed
		}
	}()
	// What the client cannot take is dropped; that it has gone ends the context.
	_, err = stdcopy.StdCopy(stdout{b.out}, stderr{b.out}, here)
	if ctx.Err() != nil {
		return 0, errCancelled
	}
	if err != nil && b.out.Err() == nil {
		return 0, err
	}
	ended, err := b.Containers.Wait(ctx, id, api.WaitConditionNotRunning)
	if err != nil {
		return 0, err
	}
	select {
	case r := <-ended:
		return r.ExitCode, nil
	case <-ctx.Done():
		return 0, errCancelled
	}
}

// kill removes a container whose client has gone.
func (b *build) kill(ctx context.Context, id string) {
	if err := b.Containers.Remove(context.WithoutCancel(ctx), id, containers.Remove{Force: true, Volumes: true}); err != nil {
		b.out.say("Removing container %s: %v\n", id[:12], err)
	}
}

// pair is two connected sockets.
func pair() (here, there net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	a, b := os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output")
	defer a.Close()
	defer b.Close()
	if here, err = net.FileConn(a); err != nil {
		return nil, nil, err
	}
	if there, err = net.FileConn(b); err != nil {
		return nil, nil, errors.Join(err, here.Close())
	}
	return here, there, nil
}
