package bundle

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// List finds the bundles of every namespace, and removes what a manager that was killed left half-made or half-removed:
// directories with a dot before their name, empty ones, and work directories without a bundle. It is called
// before the first Create.
func (s Store) List(ctx context.Context) ([]*Bundle, error) {
	spaces, err := directories(s.state())
	if err != nil {
		return nil, err
	}
	var bundles []*Bundle
	for _, namespace := range spaces {
		if strings.HasPrefix(namespace, ".") {
			continue
		}
		ids, err := directories(filepath.Join(s.state(), namespace))
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			b := s.Get(namespace, id)
			if b.leftover() {
				warn("removing what is left of a bundle", b.Path, erase(b.Path))
				continue
			}
			b.followWork()
			bundles = append(bundles, b)
		}
	}
	s.removeOrphans()
	return bundles, nil
}

// leftover tells a directory that is no bundle any more, or not yet.
func (b *Bundle) leftover() bool {
	if strings.HasPrefix(b.ID, ".") {
		return true
	}
	entries, err := os.ReadDir(b.Path)
	return err == nil && len(entries) == 0
}

// followWork finds the work directory of a bundle that an earlier manager made, which may have had another root.
func (b *Bundle) followWork() {
	work, err := os.Readlink(filepath.Join(b.Path, workName))
	if err == nil && filepath.IsAbs(work) && strings.HasSuffix(filepath.Clean(work), filepath.Join("/", b.Namespace, b.ID)) {
		b.Work = filepath.Clean(work)
	}
}

// removeOrphans removes the work directories whose bundle is gone, as after the machine has been off.
func (s Store) removeOrphans() {
	spaces, err := directories(s.root())
	if err != nil {
		warn("work directories", s.root(), err)
		return
	}
	for _, namespace := range spaces {
		ids, err := directories(filepath.Join(s.root(), namespace))
		warn("work directories", namespace, err)
		for _, id := range ids {
			b := s.Get(namespace, id)
			if _, err := os.Lstat(b.Path); errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(id, ".") {
				warn("removing a work directory without a bundle", b.Work, erase(b.Work))
			}
		}
	}
}

func warn(what, path string, err error) {
	if err != nil {
		slog.Warn(what, "path", path, "error", err)
	}
}

// directories are the names of those in a directory; none where that is missing.
func directories(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
