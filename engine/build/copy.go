package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// copyFiles does COPY.
func (s *stage) copyFiles(ctx context.Context, c *instructions.CopyCommand) error {
	switch {
	case c.Chmod != "":
		return needsBuildKit("--chmod option")
	case c.Parents:
		return needsBuildKit("--parents option")
	case len(c.ExcludePatterns) > 0:
		return needsBuildKit("--exclude option")
	case len(c.SourceContents) > 0:
		return needsBuildKit("heredoc syntax")
	}
	cp := &copying{stage: s, name: "COPY", from: s.context, fromImage: c.From != ""}
	defer cp.close()
	if c.From != "" {
		if err := cp.fromStage(ctx, c.From); err != nil {
			return fmt.Errorf("invalid from flag value %s: %w", c.From, err)
		}
	}
	return cp.do(ctx, c.SourcesAndDest, target{chown: c.Chown, keepOwners: c.From != "" && c.Chown == ""})
}

// addFiles does ADD.
func (s *stage) addFiles(ctx context.Context, c *instructions.AddCommand) error {
	switch {
	case c.Chmod != "":
		return needsBuildKit("--chmod option")
	case c.Checksum != "":
		return needsBuildKit("--checksum option")
	case len(c.ExcludePatterns) > 0:
		return needsBuildKit("--exclude option")
	case c.Unpack != nil:
		return needsBuildKit("--unpack option")
	case c.KeepGitDir != nil:
		return needsBuildKit("--keep-git-dir option")
	case len(c.SourceContents) > 0:
		return needsBuildKit("heredoc syntax")
	}
	cp := &copying{stage: s, name: "ADD", from: s.context}
	cp.download = cp.fetch
	defer cp.close()
	return cp.do(ctx, c.SourcesAndDest, target{chown: c.Chown, unpack: true})
}

// fromStage copies from a stage before, or from any image.
func (c *copying) fromStage(ctx context.Context, name string) error {
	img, known, err := c.stages.get(name)
	if err == nil && !known {
		img, err = c.image(ctx, name, c.build.platform)
	}
	if err != nil {
		return err
	}
	t, err := c.imageTree(ctx, img)
	if err != nil {
		return err
	}
	c.from = t
	c.trees = append(c.trees, t)
	return nil
}

// target is where to copy, and how.
type target struct {
	// path is absolute; a slash at its end says that it is a folder.
	path string
	// chown is who the files belong to, as the instruction says; keepOwners leaves them to whom they belong.
	chown      string
	keepOwners bool
	// unpack unpacks archives.
	unpack bool
}

// do copies, and makes an image of it.
func (c *copying) do(ctx context.Context, what instructions.SourcesAndDest, to target) error {
	sources, err := c.find(ctx, what.SourcePaths, what.DestPath)
	if err != nil {
		return prefixed(err, c.name+" failed")
	}
	if len(sources) > 1 && !strings.HasSuffix(what.DestPath, "/") {
		return fmt.Errorf("When using %s with more than one source file, the destination must be a directory and end with a /", c.name) //nolint:staticcheck // moby's words.
	}
	chown := ""
	if to.chown != "" {
		chown = "--chown=" + to.chown + " "
	}
	ran := c.noted(fmt.Sprintf("%s%s %s%s in %s ", note, c.name, chown, sumOf(sources), what.DestPath))
	if hit, err := c.cached(ctx, ran); hit || err != nil {
		return err
	}
	to.path = absolute(c.Config.WorkingDir, what.DestPath)
	key := snapshotPrefix + names.ID()
	if err := c.Roots.Layer(ctx, key, c.id, chainOf(c.img)); err != nil {
		return err
	}
	defer c.removeSnapshot(ctx, key)
	if err := c.write(ctx, key, to, sources); err != nil {
		return err
	}
	return c.layer(ctx, key, ran)
}

// absolute is a destination from the root. A slash at its end stays.
func absolute(workdir, dest string) string {
	if path.IsAbs(dest) {
		return dest
	}
	slash := ""
	if strings.HasSuffix(dest, "/") {
		slash = "/"
	}
	return path.Join("/", workdir, dest) + slash
}

// write copies sources into a snapshot.
func (c *copying) write(ctx context.Context, key string, to target, sources []source) error {
	root, err := c.Roots.OpenWritable(ctx, key)
	if err != nil {
		return err
	}
	p := placing{target: to, owner: &owner{}}
	if to.chown != "" {
		if p.owner, err = ownerIn(root, to.chown); err != nil {
			return errors.Join(fmt.Errorf("unable to convert uid/gid chown string to host mapping: %w", err), root.Close())
		}
	}
	if to.keepOwners {
		p.owner = nil
	}
	view, err := rootfs.Enter(root, nil)
	if err != nil {
		return err
	}
	p.tree = &tree{view: view}
	defer p.tree.close()
	for _, s := range sources {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.place(s); err != nil {
			return fmt.Errorf("failed to copy files: %w", err)
		}
	}
	return nil
}
