package rootfs

import (
	"context"
	"fmt"
)

// Total is the size of a container's root, in bytes: its own files and those of all snapshots below.
func (s *Service) Total(ctx context.Context, id string) (int64, error) {
	total, err := s.Usage(ctx, id)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	below := s.usage[id].below
	s.mu.Unlock()
	if below > 0 {
		return total + below, nil
	}
	if below, err = s.below(ctx, id); err != nil {
		return 0, err
	}
	s.mu.Lock()
	if u, ok := s.usage[id]; ok { // It may have been removed.
		u.below = below
		s.usage[id] = u
	}
	s.mu.Unlock()
	return total + below, nil
}

// below is the size of all snapshots below one, in bytes.
func (s *Service) below(ctx context.Context, id string) (total int64, err error) {
	info, err := s.snapshots().Stat(ctx, id)
	for ; err == nil && info.Parent != ""; info, err = s.snapshots().Stat(ctx, info.Parent) {
		u, err := s.snapshots().Usage(ctx, info.Parent)
		if err != nil {
			return 0, fmt.Errorf("size of snapshot %s: %w", info.Parent, err)
		}
		total += u.Size
	}
	if err != nil {
		return 0, fmt.Errorf("size of container %s: %w", id, err)
	}
	return total, nil
}
