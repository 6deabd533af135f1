package build

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	api "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/images"
)

// cache finds steps that were built before. After the first that was not, none of the stage is looked for.
type cache struct {
	images Images
	missed bool
	// sources are images that the client named: their history counts.
	sources []*images.Image
}

func (b *build) newCache(ctx context.Context) (*cache, error) {
	c := &cache{images: b.Images, missed: b.req.NoCache}
	for _, name := range b.req.CacheFrom {
		img, err := b.Images.Resolve(ctx, name, b.platform)
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			slog.Warn("an image that a build names for its cache is not here", "image", name, "error", err)
			continue
		}
		c.sources = append(c.sources, img)
	}
	return c, nil
}

// find is the newest image that was built here on a parent (nil for nothing) by a container of the same configuration.
func (c *cache) find(ctx context.Context, parent *images.Image, ran *api.Config, platform ocispec.Platform) (*images.Image, error) {
	if c.missed {
		return nil, nil
	}
	img, err := c.local(ctx, parent, ran, platform)
	if err != nil {
		return nil, err
	}
	if len(c.sources) > 0 {
		if img, err = c.among(ctx, parent, img, ran); err != nil {
			return nil, err
		}
	}
	c.missed = img == nil
	return img, nil
}

func (c *cache) local(ctx context.Context, parent *images.Image, ran *api.Config, platform ocispec.Platform) (*images.Image, error) {
	var on digest.Digest
	if parent != nil {
		on = parent.Target.Digest
	}
	children, err := c.images.Children(ctx, on)
	if err != nil {
		return nil, err
	}
	wanted, err := fingerprint(ran)
	if err != nil {
		return nil, err
	}
	var newest *images.Image
	for _, id := range children {
		img, err := c.images.Resolve(ctx, id.String(), nil)
		if err != nil {
			continue // It was removed meanwhile.
		}
		if !platforms.Only(platform).Match(img.Config.Platform) || newest != nil && !created(newest).Before(created(img)) {
			continue
		}
		by, err := c.images.BuiltFrom(ctx, img)
		if err != nil {
			slog.Warn("how an image was built cannot be read", "image", id, "error", err)
			continue
		}
		if by == nil {
			continue
		}
		if has, err := fingerprint(by); err == nil && has == wanted {
			newest = img
		}
	}
	return newest, nil
}

func created(img *images.Image) time.Time {
	if img.Config.Created == nil {
		return time.Time{}
	}
	return *img.Config.Created
}

// fingerprint is all of a configuration that says what a step does. Names of hosts and of the image do not: the image
// is the parent, which is compared by its digest.
func fingerprint(config *api.Config) (string, error) {
	c := *config
	c.Hostname, c.Domainname, c.Image = "", "", ""
	c.Env, c.Cmd, c.Entrypoint = nonEmpty(c.Env), nonEmpty(c.Cmd), nonEmpty(c.Entrypoint)
	c.OnBuild, c.Shell = nonEmpty(c.OnBuild), nonEmpty(c.Shell)
	if len(c.ExposedPorts) == 0 {
		c.ExposedPorts = nil
	}
	if len(c.Volumes) == 0 {
		c.Volumes = nil
	}
	if len(c.Labels) == 0 {
		c.Labels = nil
	}
	b, err := json.Marshal(c)
	return string(b), err
}

// nonEmpty is nil for an empty list: both say the same.
func nonEmpty(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// among takes only what an image that the client named was made of: a step that is cached here when it leads there, or
// else the step that its history tells.
func (c *cache) among(ctx context.Context, parent, local *images.Image, ran *api.Config) (*images.Image, error) {
	if local != nil {
		for _, goal := range c.sources {
			if c.images.Descends(ctx, goal, local.Target.Digest) {
				return local, nil
			}
		}
	}
	for _, goal := range c.sources {
		if !continues(goal, parent, strings.Join(ran.Cmd, " ")) {
			continue
		}
		done := 0
		if parent != nil {
			done = len(parent.Config.History)
		}
		if done+1 < len(goal.Config.History) {
			// The next steps are looked for there, too, and nowhere else.
			c.sources = []*images.Image{goal}
			return c.images.Rebuild(ctx, parent, goal, ran)
		}
		if parent == nil {
			return goal, nil
		}
		return goal, c.images.Adopt(ctx, goal, parent)
	}
	return nil, nil
}

// continues says that an image was made from a parent (nil for nothing), next by a command.
func continues(goal, parent *images.Image, command string) bool {
	var base ocispec.Image
	if parent != nil {
		base = parent.Config.Image
	}
	has, done := goal.Config.History, len(base.History)
	if done >= len(has) || has[done].CreatedBy != command || len(base.RootFS.DiffIDs) > len(goal.Config.RootFS.DiffIDs) {
		return false
	}
	return slices.EqualFunc(has[:done], base.History, sameStep) &&
		slices.Equal(goal.Config.RootFS.DiffIDs[:len(base.RootFS.DiffIDs)], base.RootFS.DiffIDs)
}

func sameStep(a, b ocispec.History) bool { return reflect.DeepEqual(a, b) }
