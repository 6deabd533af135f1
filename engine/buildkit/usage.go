package buildkit

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/events"
)

// DiskUsage is that of the cache. A daemon that never was has none, and is not started for the question.
func (s *Service) DiskUsage(ctx context.Context) (*build.DiskUsage, error) {
	usage := &build.DiskUsage{}
	if !s.hasCache() {
		return usage, nil
	}
	conn, release, err := s.Use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	res, err := controlapi.NewControlClient(conn).DiskUsage(ctx, &controlapi.DiskUsageRequest{})
	if err != nil {
		return nil, err
	}
	for _, r := range res.GetRecord() {
		usage.TotalCount++
		usage.TotalSize += r.GetSize()
		if r.GetInUse() {
			usage.ActiveCount++
		} else if !r.GetShared() {
			usage.Reclaimable += r.GetSize()
		}
		usage.Items = append(usage.Items, record(r))
	}
	return usage, nil
}

func record(r *controlapi.UsageRecord) build.CacheRecord {
	c := build.CacheRecord{
		ID: r.GetID(), Parents: r.GetParents(), Type: r.GetRecordType(), Description: r.GetDescription(),
		InUse: r.GetInUse(), Shared: r.GetShared(), Size: r.GetSize(), UsageCount: int(r.GetUsageCount()),
	}
	if t := r.GetCreatedAt(); t != nil {
		c.CreatedAt = t.AsTime()
	}
	if t := r.GetLastUsedAt(); t != nil {
		last := t.AsTime()
		c.LastUsedAt = &last
	}
	return c
}

// hasCache says that a daemon was there before.
func (s *Service) hasCache() bool {
	_, err := os.Stat(s.o.Root)
	return err == nil
}

// Prune is what cache to give up.
type Prune struct {
	All bool
	// Keep is what was used in that time; Filters are in BuildKit's words.
	Keep    time.Duration
	Filters []string
	// Measures in bytes, 0 for none.
	Reserved, MaxUsed, MinFree int64
}

// Prune gives up cache, and tells what was in it.
func (s *Service) Prune(ctx context.Context, p Prune) (*build.CachePruneReport, error) {
	report := &build.CachePruneReport{}
	if s.hasCache() {
		if err := s.prune(ctx, p, report); err != nil {
			return nil, err
		}
	}
	s.o.Events.Publish(events.BuilderEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

func (s *Service) prune(ctx context.Context, p Prune, report *build.CachePruneReport) error {
	conn, release, err := s.Use(ctx)
	if err != nil {
		return err
	}
	defer release()
	stream, err := controlapi.NewControlClient(conn).Prune(ctx, &controlapi.PruneRequest{
		All: p.All, KeepDuration: int64(p.Keep), Filter: p.Filters,
		ReservedSpace: p.Reserved, MaxUsedSpace: p.MaxUsed, MinFreeSpace: p.MinFree,
	})
	for err == nil {
		var r *controlapi.UsageRecord
		if r, err = stream.Recv(); err == nil {
			report.SpaceReclaimed += uint64(max(r.GetSize(), 0)) //nolint:gosec // not negative
			report.CachesDeleted = append(report.CachesDeleted, r.GetID())
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
