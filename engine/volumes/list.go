package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

// List is the volumes that pass a filter (dangling, driver, label, name), by name.
func (s *Store) List(_ context.Context, args filters.Args) ([]volume.Volume, error) {
	if err := args.Only("dangling", "driver", "label", "name"); err != nil {
		return nil, err
	}
	dangling, err := args.Bool("dangling", false)
	if err != nil {
		return nil, err
	}
	_, byUse := args["dangling"]
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []volume.Volume{}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		e := s.byName[name]
		if byUse && dangling != (len(e.uses) == 0) {
			continue
		}
		if passes(e, args) && args.Exact("driver", Local) && args.Match("name", name) {
			list = append(list, s.show(e))
		}
	}
	return list, nil
}

// passes says that the labels are as wanted.
func passes(e *entry, args filters.Args) bool {
	if !args.Labels("label", e.Labels) {
		return false
	}
	_, not := args["label!"]
	return !not || !args.Labels("label!", e.Labels)
}

// Usage is the volumes without options, with their sizes and how many containers have them.
func (s *Store) Usage(ctx context.Context) ([]volume.Volume, error) {
	s.mu.Lock()
	list := []volume.Volume{}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		e := s.byName[name]
		if len(e.Options) > 0 {
			continue
		}
		v := s.show(e)
		v.UsageData = &volume.UsageData{RefCount: int64(len(e.uses))}
		list = append(list, v)
	}
	s.mu.Unlock()
	for i := range list {
		size, err := size(ctx, list[i].Mountpoint)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				slog.Warn("size of a volume", "volume", list[i].Name, "error", err)
			}
			size = -1
		}
		list[i].UsageData.Size = size
	}
	return list, nil
}

// size is the sum of a folder's files in bytes, each once however many names it has.
func size(ctx context.Context, dir string) (sum int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil // Containers go on working in it.
		}
		if err = errors.Join(err, ctx.Err()); err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}

// Prune removes volumes that nobody uses: anonymous ones, or all with the filter all=true. Volumes with options stay.
func (s *Store) Prune(ctx context.Context, args filters.Args) (*volume.PruneReport, error) {
	if !s.pruning.CompareAndSwap(false, true) {
		return nil, fault.Errorf(errdefs.ErrConflict, "a prune operation is already running")
	}
	defer s.pruning.Store(false)
	all, err := pruneAll(args)
	if err != nil {
		return nil, err
	}
	if err := args.Only("all", "label", "label!"); err != nil {
		return nil, err
	}
	report := &volume.PruneReport{VolumesDeleted: []string{}}
	for _, name := range s.unused(args, all) {
		if ctx.Err() != nil {
			return report, nil
		}
		freed, err := size(ctx, s.data(name))
		if err != nil {
			slog.Warn("size of a volume", "volume", name, "error", err)
		}
		if err := s.Remove(ctx, name, false); err != nil {
			slog.Warn("volume is not pruned", "volume", name, "error", err)
			continue
		}
		report.SpaceReclaimed += uint64(freed) //nolint:gosec // A sum of sizes is not negative.
		report.VolumesDeleted = append(report.VolumesDeleted, name)
	}
	s.events.Publish(events.VolumeEventType, events.ActionPrune, "", map[string]string{
		"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10),
	})
	return report, nil
}

func pruneAll(args filters.Args) (bool, error) {
	values := args.Values("all")
	switch len(values) {
	case 0:
		return false, nil
	case 1:
		all, err := strconv.ParseBool(values[0])
		if err != nil {
			return false, fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'all': %w", err)
		}
		return all, nil
	}
	return false, fault.As(errdefs.ErrInvalidArgument, fmt.Errorf("invalid filter 'all=%s': only one value is expected", values))
}

// unused are the names of what prune may remove.
func (s *Store) unused(args filters.Args, all bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for name, e := range s.byName {
		_, anonymous := e.Labels[AnonymousLabel]
		if len(e.uses) == 0 && len(e.Options) == 0 && (all || anonymous) && passes(e, args) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
