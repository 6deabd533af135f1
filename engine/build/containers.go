package build

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/containers"
)

// containersFile, in a build's folder, has the ids of its containers: an engine that was killed leaves them to the next.
const containersFile = "containers"

// create makes a step's container.
func (b *build) create(ctx context.Context, config *api.Config) (string, error) {
	made, err := b.Containers.Create(ctx, containers.Create{
		CreateRequest: api.CreateRequest{Config: config, HostConfig: b.req.hostConfig()}, Platform: b.platform,
	})
	if err != nil {
		return "", err
	}
	b.left = append(b.left, made.ID)
	if err := b.note(made.ID); err != nil {
		return "", err
	}
	for _, w := range made.Warnings {
		b.out.say(" ---> [Warning] %s\n", w)
	}
	b.out.say(" ---> Running in %s\n", made.ID[:12])
	return made.ID, nil
}

// note writes a container's id down.
func (b *build) note(id string) error {
	if !b.req.Remove && !b.req.ForceRemove {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(b.dir, containersFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(id + "\n")
	return err
}

// removeContainers removes the containers of steps that are still there.
func (b *build) removeContainers(ctx context.Context, quietly bool) {
	var left []string
	for _, id := range b.left {
		err := b.Containers.Remove(ctx, id, containers.Remove{Force: true, Volumes: true})
		if err != nil && !errdefs.IsNotFound(err) {
			b.out.say("Removing intermediate container %s: %v\n", id[:12], err)
			left = append(left, id)
			continue
		}
		if !quietly {
			b.out.say(" ---> Removed intermediate container %s\n", id[:12])
		}
	}
	b.left = left
}
