package engine

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-containers/gantry/engine/archive"
	"github.com/gantry-containers/gantry/engine/config"
	archiveapi "github.com/gantry-containers/gantry/engine/httpapi/archive"
	imagesapi "github.com/gantry-containers/gantry/engine/httpapi/images"
	registryapi "github.com/gantry-containers/gantry/engine/httpapi/registry"
	volumesapi "github.com/gantry-containers/gantry/engine/httpapi/volumes"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/mounts"
	"github.com/gantry-containers/gantry/engine/registry"
	"github.com/gantry-containers/gantry/engine/rootfs"
	"github.com/gantry-containers/gantry/engine/volumes"
)

// defaultSnapshotter is containerd's.
const defaultSnapshotter = "overlayfs"

func (e *Engine) snapshotter() string {
	if s := e.config.Load().Snapshotter; s != "" {
		return s
	}
	return defaultSnapshotter
}

// wireImages is what containers start from, and where it comes from.
func (e *Engine) wireImages(ctx context.Context) error {
	store := images.New(images.Options{
		Client: e.manager, Snapshotter: e.snapshotter(), Containers: e.parts.records, Events: e.bus, Pauser: e.later(),
	})
	platform := images.HostPlatform()
	reg, err := registry.New(registry.Options{
		Config: e.registryConfig(e.config.Load()), Platform: &platform,
		Client: e.manager, Snapshotter: e.snapshotter(), Events: e.bus, Records: store.Records(),
	})
	if err != nil {
		return err
	}
	e.parts.store, e.parts.registry = store, reg
	e.routers = append(e.routers, registryapi.New(reg, importer{store}), imagesapi.New(store))
	e.load = append(e.load, reg.Sweep)
	e.background(ctx, store.Watch)
	return nil
}

// registryConfig is what the engine was told about registries.
func (e *Engine) registryConfig(c *config.Config) registry.Config {
	return registry.Config{
		Mirrors: c.Registry.Mirrors, Insecure: c.Registry.Insecure, UserAgent: "docker/" + e.build.Version,
		MaxDownloads: c.Registry.Downloads, MaxUploads: c.Registry.Uploads, MaxAttempts: c.Registry.Attempts,
	}
}

// importer is images.Store, as the routes of registries ask it.
type importer struct{ *images.Store }

// Import implements registryapi.Importer.
func (i importer) Import(ctx context.Context, root io.Reader, o registryapi.Import) (digest.Digest, error) {
	return i.Store.Import(ctx, root, images.ImportOptions(o))
}

// wireFiles is what containers have for files: roots, volumes, mounts, and docker cp.
func (e *Engine) wireFiles(context.Context) error {
	c := e.config.Load()
	vols, err := volumes.Open(filepath.Join(c.Root, "volumes"), e.bus)
	if err != nil {
		return err
	}
	roots := rootfs.New(e.manager, e.snapshotter(), rootfs.Containers{Pid: e.pid, IDs: e.ids}, filepath.Join(c.ExecRoot, "remapped"))
	m := mounts.New(mounts.Config{
		Volumes: vols, Containers: e.parts.records, Images: e.parts.store, Roots: roots, Events: e.bus,
		Root: c.Root, Dir: filepath.Join(c.ExecRoot, "mounts"),
	})
	e.parts.vols, e.parts.roots, e.parts.mounts = vols, roots, m
	e.load = append(e.load, e.restoreMounts)
	e.routers = append(e.routers,
		archiveapi.New(archive.New(e.parts.records, roots, m, e.bus)),
		volumesapi.New(vols))
	return nil
}

// pid is the init process of a container that runs, or 0.
func (e *Engine) pid(id string) int {
	c, err := e.parts.records.Get(id)
	if err != nil || !c.State.Running() {
		return 0
	}
	return c.State.Pid
}

// ids are whose ids on the host a container's users have.
func (e *Engine) ids(id string) user.IdentityMapping {
	c, err := e.parts.records.Get(id)
	if err != nil {
		return user.IdentityMapping{}
	}
	return c.IDs
}

// restoreMounts notes what each container of an earlier engine has in use.
func (e *Engine) restoreMounts(ctx context.Context) error {
	for _, c := range e.parts.records.List() {
		if err := e.parts.mounts.Restore(ctx, c, c.State.Running()); err != nil {
			return err
		}
	}
	// What it could not take away it tries again at its next start.
	if err := e.sweepMounts(ctx); err != nil {
		slog.Error("mounts or volumes are left of containers that are gone", "error", err)
	}
	return nil
}

// sweepMounts takes away what belongs to containers that are gone or were never finished. One whose record cannot be
// read is neither: somebody may mend it.
func (e *Engine) sweepMounts(ctx context.Context) error {
	unfinished, err := e.parts.records.Orphans()
	if err != nil {
		return err
	}
	return e.parts.mounts.Sweep(ctx, func(id string) bool {
		_, err := os.Lstat(e.parts.records.Dir(id))
		return err == nil && !slices.Contains(unfinished, id)
	})
}
