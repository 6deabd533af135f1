package build

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	api "github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/images/changes"
)

// nothing is the name of the image that is none.
const nothing = "scratch"

// defaultPath is where programs are looked for when an image does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// from begins a stage.
func (b *build) from(ctx context.Context, st *instructions.Stage) (*stage, error) {
	platform := b.platform
	if st.Platform != "" {
		word, err := b.expandGlobal(st.Platform)
		if err != nil {
			return nil, fmt.Errorf("failed to process arguments for platform %s: %w", word, err)
		}
		p, err := platforms.Parse(word)
		if err != nil {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "failed to parse platform %s: %w", word, err)
		}
		platform = &p
	}
	name, err := b.expandGlobal(st.BaseName)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("base name (%s) should not be blank", st.BaseName)
	}
	img, known := b.stages.named(name)
	if !known && name != nothing {
		if img, err = b.image(ctx, name, platform); err != nil {
			return nil, err
		}
	}
	s := &stage{build: b, args: b.args.stage(), platform: platforms.DefaultSpec()}
	if platform != nil {
		s.platform = *platform
	}
	if s.platform.OS != runtime.GOOS {
		return nil, errors.New("operating system is not supported")
	}
	s.cache, err = b.newCache(ctx)
	if err != nil {
		return nil, err
	}
	s.begin(img)
	return s, s.triggers(ctx)
}

// begin takes the base image's configuration.
func (s *stage) begin(img *images.Image) {
	config := &api.Config{}
	if s.img = img; img != nil {
		config = images.ContainerConfig(&img.Config.Config)
		if p := img.Config.Platform; p.Architecture != "" {
			s.platform = p
		}
	}
	s.Change = changes.New(config, s.escape)
	for _, v := range s.Config.Env {
		if strings.HasPrefix(v, "PATH=") {
			return
		}
	}
	s.Config.Env = append(s.Config.Env, defaultPath)
}

// triggers does what the base image wants done by who builds on it.
func (s *stage) triggers(ctx context.Context) error {
	list := s.Config.OnBuild
	if len(list) == 0 {
		return nil
	}
	s.Config.OnBuild = nil
	plural := ""
	if len(list) > 1 {
		plural = "s"
	}
	s.out.say("# Executing %d build trigger%s", len(list), plural)
	s.out.say("\n")
	for _, line := range list {
		file, err := parser.Parse(strings.NewReader(line))
		if err != nil {
			return err
		}
		if len(file.AST.Children) != 1 {
			return errors.New("onbuild trigger should be a single expression")
		}
		cmd, err := instructions.ParseCommand(file.AST.Children[0])
		if err != nil {
			return err
		}
		if err := s.do(ctx, cmd); err != nil {
			return err
		}
	}
	return nil
}

// expandGlobal puts arguments in that were declared before the first FROM.
func (b *build) expandGlobal(word string) (string, error) {
	out, _, err := b.lex.ProcessWord(word, shell.EnvsFromSlice(b.args.globals()))
	return out, err
}

// image finds a base image, or brings it.
func (b *build) image(ctx context.Context, name string, platform *ocispec.Platform) (*images.Image, error) {
	key := name
	if platform != nil {
		key += " " + platforms.FormatAll(*platform)
	}
	if img, ok := b.pulled[key]; ok {
		return img, nil
	}
	img, err := b.Images.Resolve(ctx, name, platform)
	if err == nil && b.req.Pull && !isID(img, name) {
		err = errdefs.ErrNotFound
	}
	if errdefs.IsNotFound(err) {
		ref, parse := reference.ParseNormalizedNamed(name)
		if parse != nil {
			return nil, parse
		}
		if err = b.Registry.PullForBuild(ctx, ref, platform, b.req.Auths, b.out.Writer); err != nil {
			return nil, err
		}
		img, err = b.Images.Resolve(ctx, name, platform)
	}
	if err != nil {
		return nil, err
	}
	if img.Config.OS != "" && img.Config.OS != runtime.GOOS {
		return nil, errors.New("operating system is not supported")
	}
	b.pulled[key] = img
	return img, nil
}

// isID says that a client named an image by its id: no registry knows it.
func isID(img *images.Image, name string) bool {
	return img.Name == "" && strings.HasPrefix(strings.TrimPrefix(img.Target.Digest.String(), "sha256:"), strings.TrimPrefix(name, "sha256:"))
}
