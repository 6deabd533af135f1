package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	apibuild "github.com/moby/moby/api/types/build"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/progress"
)

// Service builds images.
type Service struct{ parts Parts }

// New is a service. Load must be called before the first build.
func New(p Parts) (*Service, error) {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, err
	}
	return &Service{p}, nil
}

// Build builds an image, tags it, and returns its id. Nothing is written to out before the Dockerfile is read, so that
// errors until then can be an answer's status. When the context ends, the step that runs is killed.
func (s *Service) Build(ctx context.Context, r *Request, out *progress.Writer) (id string, err error) {
	tags, err := parseTags(r.Tags)
	if err != nil {
		return "", err
	}
	b := &build{Parts: s.parts, req: r, out: console{out}, args: newArguments(r.Args), pulled: map[string]*images.Image{}}
	if err := b.begin(); err != nil {
		return "", err
	}
	defer b.end(ctx)
	file, err := b.receive(ctx)
	if err != nil {
		return "", err
	}
	if r.Platform != "" {
		p, err := platforms.Parse(r.Platform)
		if err != nil {
			return "", fault.As(errdefs.ErrInvalidArgument, err)
		}
		b.platform = &p
	}
	img, err := b.file(ctx, file)
	if err != nil {
		return "", err
	}
	if r.Squash {
		return "", fault.Errorf(errdefs.ErrNotImplemented, "error squashing image: not implemented")
	}
	b.out.say("Successfully built %s\n", short(img))
	for _, tag := range tags {
		if err := s.parts.Images.Tag(ctx, img, tag.String()); err != nil {
			return "", err
		}
		b.out.say("Successfully tagged %s\n", reference.FamiliarString(tag))
	}
	return img.Target.Digest.String(), nil
}

// parseTags checks names, and leaves out those that come again.
func parseTags(list []string) (tags []reference.Named, _ error) {
	for _, name := range list {
		if name == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, err
		}
		if _, ok := ref.(reference.Digested); ok {
			return nil, errors.New("build tag cannot contain a digest")
		}
		ref = reference.TagNameOnly(ref)
		if !slices.ContainsFunc(tags, func(t reference.Named) bool { return t.String() == ref.String() }) {
			tags = append(tags, ref)
		}
	}
	return tags, nil
}

// build is one build.
type build struct {
	Parts
	req      *Request
	out      console
	platform *ocispec.Platform
	// id names what belongs to the build; dir is its folder.
	id, dir string
	// context is nil for a Dockerfile alone.
	context *tree
	args    *arguments
	lex     *shell.Lex
	escape  rune
	stages  stages
	// pulled are the base images of this build: one that was pulled is not pulled again.
	pulled map[string]*images.Image
	// left are containers of steps that are not removed yet.
	left []string
	// step and steps count instructions.
	step, steps int
}

// begin makes the build's folder.
func (b *build) begin() error {
	b.id = names.ID()
	b.dir = filepath.Join(b.Dir, b.id)
	return os.Mkdir(b.dir, 0o700)
}

// end takes away what nobody needs after the build.
func (b *build) end(ctx context.Context) {
	b.context.close()
	if ctx.Err() != nil && (b.req.Remove || b.req.ForceRemove) {
		b.removeContainers(context.WithoutCancel(ctx), true)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		slog.Error("files of a build are left", "folder", b.dir, "error", err)
	}
}

// file builds a Dockerfile.
func (b *build) file(ctx context.Context, file *parser.Result) (*images.Image, error) {
	list, globals, err := instructions.Parse(file.AST, nil)
	if err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	if b.req.Target != "" {
		i, found := instructions.HasStage(list, b.req.Target)
		if !found {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "target stage %q could not be found", b.req.Target)
		}
		list = list[:i+1]
	}
	for _, key := range slices.Sorted(maps.Keys(b.req.Labels)) {
		list[len(list)-1].AddCommand(instructions.NewLabelCommand(key, b.req.Labels[key], true))
	}
	file.PrintWarnings(stderr{b.out})
	b.escape, b.lex = file.EscapeToken, shell.NewLex(file.EscapeToken)
	b.step, b.steps = 1, len(globals)+len(list)
	for _, st := range list {
		b.steps += len(st.Commands)
	}
	for i := range globals {
		if err := b.global(&globals[i]); err != nil {
			return nil, err
		}
	}
	var img *images.Image
	for i := range list {
		if img, err = b.stage(ctx, &list[i]); err != nil {
			return nil, err
		}
	}
	if unused := b.args.unused(); len(unused) > 0 {
		b.out.say("[Warning] One or more build-args %v were not consumed\n", unused)
	}
	if img == nil {
		return nil, errors.New("No image was generated. Is your Dockerfile empty?") //nolint:staticcheck // moby's words.
	}
	return img, nil
}

// global is an ARG before the first FROM.
func (b *build) global(cmd *instructions.ArgCommand) error {
	b.next(cmd)
	env := shell.EnvsFromSlice(b.args.list(b.args.declared, nil))
	err := cmd.Expand(func(word string) (string, error) {
		out, _, err := b.lex.ProcessWord(word, env)
		return out, err
	})
	if err != nil {
		return err
	}
	for _, a := range cmd.Args {
		b.args.declare(a.Key, a.Value)
		b.args.global[a.Key] = a.Value
	}
	return nil
}

// next tells the client of the next instruction.
func (b *build) next(instruction any) {
	b.out.step(b.step, b.steps, instruction)
	b.step++
}

// stage builds one stage.
func (b *build) stage(ctx context.Context, st *instructions.Stage) (*images.Image, error) {
	if err := b.stages.free(st.Name); err != nil {
		return nil, err
	}
	b.next(st.SourceCode)
	s, err := b.from(ctx, st)
	if err != nil {
		return nil, err
	}
	b.out.say(" ---> %s\n", short(s.img))
	for _, cmd := range st.Commands {
		if ctx.Err() != nil {
			b.out.say("Build cancelled\n")
			return nil, fmt.Errorf("Build cancelled: %w", context.Cause(ctx))
		}
		b.next(cmd)
		if err := s.do(ctx, cmd); err != nil {
			return nil, err
		}
		b.out.say(" ---> %s\n", short(s.img))
	}
	if s.img != nil && !b.req.NoAux {
		b.out.AuxOf("", apibuild.Result{ID: s.img.Target.Digest.String()})
	}
	b.stages.add(st.Name, s.img)
	return s.img, nil
}

// short is an image's id as people read it.
func short(img *images.Image) string {
	if img == nil {
		return ""
	}
	return img.Target.Digest.Encoded()[:12]
}
