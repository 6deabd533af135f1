package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/harness"
)

// nothing removes all containers, and wants nothing to be left but the image.
func (s *subject) nothing() {
	s.t.Helper()
	list, err := s.ContainerList(limited(s.t, patience), client.ContainerListOptions{All: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range list.Items {
		s.remove(c.ID)
	}
	var left []string
	if !harness.Until(patience, func() bool {
		left = append(s.below(), s.files()...)
		return len(left) == 0
	}) {
		s.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// below is what the manager has that belongs to no image.
func (s *subject) below() (left []string) {
	s.t.Helper()
	s.managed(func(ctx context.Context, c *containerd.Client) {
		records, err := c.ContainerService().List(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range records {
			left = append(left, "record of "+r.ID)
		}
		leases, err := c.LeasesService().List(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, l := range leases {
			left = append(left, "lease "+l.ID)
		}
		if err := c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
			if i.Kind != snapshots.KindCommitted {
				left = append(left, "snapshot "+i.Name)
			}
			return nil
		}); err != nil {
			s.t.Fatal(err)
		}
		ingests, err := c.ContentStore().ListStatuses(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, i := range ingests {
			left = append(left, "ingest "+i.Ref)
		}
	})
	return left
}

// files are what is left of containers, volumes and requests in the engine's folders, and mounts in them.
func (s *subject) files() (left []string) {
	s.t.Helper()
	for _, dir := range []string{"data/containers", "data/volumes", "data/tmp", "exec/mounts", "exec/health"} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Error(err)
		}
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	// Those that have ended can be asked for a while longer.
	execs, _ := filepath.Glob(s.path("exec/execs/*"))
	for _, path := range execs {
		var r struct{ ExitCode *int }
		if b, err := os.ReadFile(path); err == nil && (json.Unmarshal(b, &r) != nil || r.ExitCode == nil) {
			left = append(left, fmt.Sprintf("%s: %s", path, b))
		}
	}
	// FIFOs are all that the keeper has of a container.
	_ = filepath.WalkDir(s.path("exec/keeper"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeNamedPipe != 0 {
			left = append(left, path)
		}
		return nil
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		// The engine runs, and its own network namespace has a file.
		if strings.Contains(line, s.dir) && !strings.Contains(line, s.dir+"/exec/netns/default ") {
			left = append(left, "mount "+line)
		}
	}
	return left
}
