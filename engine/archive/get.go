package archive

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	goarchive "github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// Get packs a path of a container as a tar archive, which the caller closes. A link is packed as such, unless the path
// ends in a slash or a dot.
func (s *Service) Get(ctx context.Context, ref, path string) (io.ReadCloser, *api.PathStat, error) {
	c, err := s.containers.Get(ref)
	if err != nil {
		return nil, nil, err
	}
	view, leave, err := s.enter(ctx, c.ID, false)
	if err != nil {
		return nil, nil, told(err, ref, path)
	}
	abs := goarchive.PreserveTrailingDotOrSeparator(filepath.Join("/", path), path)
	var stat *api.PathStat
	err = view.Run(func() error {
		stat, err = statHere(abs)
		return err
	})
	if err != nil {
		leave()
		return nil, nil, told(err, ref, path)
	}
	dir, base := abs, "."
	if !stat.Mode.IsDir() {
		dir, base = filepath.Split(abs)
	}
	options := goarchive.TarResourceRebaseOpts(base, filepath.Base(abs))
	options.IDMap = view.IDs
	tb, err := goarchive.NewTarballer(dir, options)
	if err != nil {
		leave()
		return nil, nil, told(err, ref, path)
	}
	view.Start(tb.Do)
	s.publish(c, events.ActionArchivePath)
	return &packing{ReadCloser: tb.Reader(), leave: sync.OnceFunc(leave)}, stat, nil
}

// packing is an archive that is being made.
type packing struct {
	io.ReadCloser
	leave func()
}

// Close ends the packing where it is.
func (p *packing) Close() error {
	err := p.ReadCloser.Close()
	p.leave()
	return err
}

// Export writes a container's root as a tar archive, without what is mounted in it.
func (s *Service) Export(ctx context.Context, ref string, w io.Writer) error {
	c, err := s.containers.Get(ref)
	if err != nil {
		return err
	}
	if c.State.Status == container.Dead {
		return fault.Errorf(errdefs.ErrConflict, "You cannot export container %s which is Dead", c.ID)
	}
	if c.State.RemovalInProgress {
		return fault.Errorf(errdefs.ErrConflict, "You cannot export container %s which is being removed", c.ID)
	}
	if err := s.export(ctx, c, w); err != nil {
		return fmt.Errorf("Error exporting container %s: %w", ref, err) //nolint:staticcheck // moby's words.
	}
	s.publish(c, events.ActionExport)
	return nil
}

func (s *Service) export(ctx context.Context, c *container.Container, w io.Writer) error {
	view, err := s.bare(ctx, c)
	if err != nil {
		return err
	}
	defer view.Close()
	tb, err := goarchive.NewTarballer("/", &goarchive.TarOptions{Compression: compression.None, IDMap: view.IDs})
	if err != nil {
		return err
	}
	view.Start(tb.Do)
	r := tb.Reader()
	defer r.Close()
	defer context.AfterFunc(ctx, func() { r.Close() })()
	_, err = io.Copy(w, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
