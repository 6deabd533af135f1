package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/gantry-containers/gantry/engine/archive"
	"github.com/gantry-containers/gantry/engine/fault"
)

const (
	defaultFile = "Dockerfile"
	ignoreFile  = ".dockerignore"
	// maxFile bounds a Dockerfile and a .dockerignore, in bytes.
	maxFile = 16 << 20
	// maxTrailer bounds what may come after an archive's end, in bytes.
	maxTrailer = 64 << 20
)

// receive takes the context, and reads the Dockerfile in it.
func (b *build) receive(ctx context.Context) (*parser.Result, error) {
	switch remote := b.req.Remote; {
	case remote == "":
		return b.unpacked(b.req.Context)
	case remote == "client-session":
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead")
	case isGit(remote):
		return b.git(ctx, remote)
	case isURL(remote):
		return b.remote(ctx, remote)
	default:
		return nil, fmt.Errorf("remoteURL (%s) could not be recognized as URL", remote)
	}
}

// unpacked is a context that comes as an archive.
func (b *build) unpacked(in io.Reader) (*parser.Result, error) {
	plain, err := archive.Decompress(in)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	dir := filepath.Join(b.dir, "context")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if b.context, err = openFolder(dir); err != nil {
		return nil, err
	}
	if err := b.context.unpack(plain, "/", nil); err != nil {
		return nil, err
	}
	// Only when the request is read to its end is it noticed that the client goes away.
	for _, rest := range []io.Reader{plain, in} {
		if _, err := io.Copy(io.Discard, io.LimitReader(rest, maxTrailer)); err != nil {
			return nil, err
		}
	}
	return b.dockerfile()
}

// dockerfile reads the Dockerfile of the context. It is no part of it when the context says that it ignores it.
func (b *build) dockerfile() (*parser.Result, error) {
	name := b.req.Dockerfile
	if name == "" {
		name = defaultFile
	}
	f, err := b.context.open(name)
	if errors.Is(err, fs.ErrNotExist) && name == defaultFile {
		if lower, err2 := b.context.open(strings.ToLower(name)); err2 == nil {
			f, name, err = lower, strings.ToLower(name), nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("Cannot locate specified Dockerfile: %s", name) //nolint:staticcheck // moby's words.
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, err := parse(name, f)
	if err != nil {
		return nil, err
	}
	return file, b.context.dropIgnored(name)
}

func parse(name string, in io.Reader) (*parser.Result, error) {
	r := bufio.NewReader(io.LimitReader(in, maxFile))
	if _, err := r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "the Dockerfile (%s) cannot be empty", name)
		}
		return nil, fmt.Errorf("unexpected error reading Dockerfile: %w", err)
	}
	file, err := parser.Parse(r)
	if err != nil {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "failed to parse %s: %w", name, err)
	}
	return file, nil
}

// dropIgnored removes the Dockerfile and the .dockerignore of a context when that one says so. What else it names the
// client has left out, or wants to send.
func (t *tree) dropIgnored(dockerfile string) error {
	f, err := t.open(ignoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return fmt.Errorf("error reading .dockerignore: %w", err)
	}
	for _, name := range []string{ignoreFile, dockerfile} {
		if ignored, err := patternmatcher.MatchesOrParentMatches(name, patterns); err != nil || !ignored {
			continue
		}
		abs, err := inside(name)
		if err != nil {
			return err
		}
		if err := t.view.Run(func() error { return os.RemoveAll(abs) }); err != nil {
			slog.Warn("an ignored file stays in the context of a build", "file", name, "error", err)
		}
	}
	return nil
}
