package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	api "github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/images/changes"
)

// stage is a stage while it is built.
type stage struct {
	*build
	// Change has the configuration that the next image will have.
	*changes.Change
	// img is the last image; nil as long as there is none.
	img      *images.Image
	author   string
	args     *arguments
	platform ocispec.Platform
	cache    *cache
}

// do does one instruction.
func (s *stage) do(ctx context.Context, cmd instructions.Command) (err error) {
	if id := s.imageID(); id != "" {
		s.Config.Image = id
	}
	defer func() {
		if s.req.ForceRemove || s.req.Remove && err == nil {
			s.removeContainers(ctx, false)
		}
	}()
	previous := s.Config.Healthcheck
	variables := s.args.variables(s.Config.Env)
	done, err := s.Instruction(cmd, variables)
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	if c, ok := cmd.(*instructions.WorkdirCommand); ok {
		return s.workdir(ctx, c)
	}
	if done {
		told := s.told(cmd)
		if _, ok := cmd.(*instructions.HealthCheckCommand); ok && previous != nil {
			s.overrideHealth(previous)
		}
		return s.commit(ctx, told)
	}
	switch c := cmd.(type) {
	case *instructions.MaintainerCommand:
		s.author = c.Maintainer
		return s.commit(ctx, "MAINTAINER "+c.Maintainer)
	case *instructions.ArgCommand:
		for _, a := range c.Args {
			s.args.declare(a.Key, a.Value)
		}
		return s.commit(ctx, s.told(cmd))
	case *instructions.RunCommand:
		return s.run(ctx, c, variables)
	case *instructions.CopyCommand:
		return s.copyFiles(ctx, c)
	case *instructions.AddCommand:
		return s.addFiles(ctx, c)
	}
	return fmt.Errorf("unsupported command type: %T", cmd)
}

// overrideHealth tells that a health check takes the place of another one. What it leaves open stays as it was.
func (s *stage) overrideHealth(previous *api.HealthConfig) {
	if len(previous.Test) > 0 && previous.Test[0] != "NONE" {
		s.out.say("Note: overriding previous HEALTHCHECK: %+v\n", previous.Test)
	}
	h := *s.Config.Healthcheck
	h.Interval, h.Timeout = cmp.Or(h.Interval, previous.Interval), cmp.Or(h.Timeout, previous.Timeout)
	h.StartPeriod, h.StartInterval = cmp.Or(h.StartPeriod, previous.StartPeriod), cmp.Or(h.StartInterval, previous.StartInterval)
	h.Retries = cmp.Or(h.Retries, previous.Retries)
	s.Config.Healthcheck = &h
}

// told is an instruction as an image's history tells it.
func (s *stage) told(cmd instructions.Command) string {
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		return pairs("ENV", c.Env)
	case *instructions.LabelCommand:
		return pairs("LABEL", c.Labels)
	case *instructions.CmdCommand:
		return fmt.Sprintf("CMD %q", s.Config.Cmd)
	case *instructions.EntrypointCommand:
		return fmt.Sprintf("ENTRYPOINT %q", s.Config.Entrypoint)
	case *instructions.HealthCheckCommand:
		return fmt.Sprintf("HEALTHCHECK %+v", s.Config.Healthcheck)
	case *instructions.ExposeCommand:
		return "EXPOSE " + strings.Join(c.Ports, " ")
	case *instructions.UserCommand:
		return "USER " + c.User
	case *instructions.VolumeCommand:
		return fmt.Sprintf("VOLUME %v", c.Volumes)
	case *instructions.OnbuildCommand:
		return "ONBUILD " + c.Expression
	case *instructions.StopSignalCommand:
		return "STOPSIGNAL " + c.Signal
	case *instructions.ShellCommand:
		return fmt.Sprintf("SHELL %v", s.Config.Shell)
	case *instructions.ArgCommand:
		words := make([]string, len(c.Args))
		for i, a := range c.Args {
			words[i] = a.Key
			if a.Value != nil {
				words[i] += "=" + *a.Value
			}
		}
		return "ARG " + strings.Join(words, " ")
	}
	return ""
}

func pairs(name string, list instructions.KeyValuePairs) string {
	for _, p := range list {
		name += " " + p.String()
	}
	return name
}

// needsBuildKit says no to what only BuildKit does.
func needsBuildKit(what string) error {
	return fmt.Errorf("the %s requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled", what)
}

// noted is a configuration whose command only tells what was done. Some instructions are told as one word, some as
// two, ever since.
func (s *stage) noted(words ...string) *api.Config {
	c := changes.Clone(s.Config)
	c.Cmd = append(s.shell(), words...)
	return c
}

const note = "#(nop) "

// shell is what runs command lines.
func (s *stage) shell() []string {
	return s.CommandLine(instructions.ShellDependantCmdLine{CmdLine: []string{}, PrependShell: true})
}

// commit makes an image whose configuration has changed.
func (s *stage) commit(ctx context.Context, told string) error {
	ran := s.noted(note, told)
	if hit, err := s.cached(ctx, ran); hit || err != nil {
		return err
	}
	if _, err := s.create(ctx, changes.Clone(ran)); err != nil {
		return err
	}
	return s.layer(ctx, "", ran)
}

// workdir makes the folder in which the next steps work.
func (s *stage) workdir(ctx context.Context, _ *instructions.WorkdirCommand) error {
	ran := s.noted(note + "WORKDIR " + s.Config.WorkingDir)
	if hit, err := s.cached(ctx, ran); hit || err != nil {
		return err
	}
	id, err := s.create(ctx, changes.Clone(ran))
	if err != nil {
		return err
	}
	tree, err := s.Roots.OpenWritable(ctx, id)
	if err != nil {
		return err
	}
	err = tree.MkdirAll(s.Config.WorkingDir, 0o755)
	if err := errors.Join(err, tree.Close()); err != nil {
		return fmt.Errorf("Cannot mkdir: %s is not a directory: %w", s.Config.WorkingDir, err) //nolint:staticcheck // moby's words.
	}
	return s.layer(ctx, id, ran)
}

// layer makes an image of what a snapshot has changed; of the configuration alone when it has no name.
func (s *stage) layer(ctx context.Context, snapshot string, ran *api.Config) error {
	img, err := s.Images.Commit(ctx, images.Commit{
		Parent: s.img, Container: snapshot, Config: images.ConfigOf(s.Config), ContainerConfig: ran,
		Author: s.author, CreatedBy: strings.Join(ran.Cmd, " "), Platform: s.platform,
	})
	if err != nil {
		return err
	}
	s.img = img
	return nil
}

// cached takes an image that was made by the same step before.
func (s *stage) cached(ctx context.Context, ran *api.Config) (bool, error) {
	img, err := s.cache.find(ctx, s.img, ran, s.platform)
	if err != nil || img == nil {
		return false, err
	}
	s.out.say(" ---> Using cache\n")
	s.img = img
	return true, nil
}

func (s *stage) imageID() string {
	if s.img == nil {
		return ""
	}
	return s.img.Target.Digest.String()
}
