package manager

import (
	"context"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/gantry-containers/gantry/manager/task"
)

// forgetful is the store of containers for clients: when a container's record has gone, what is kept of a task
// that has ended goes, too, since nobody can ask for it any more.
type forgetful struct {
	containers.Store
	tasks *task.Manager
}

// Delete removes the record, and forgets the task.
func (f forgetful) Delete(ctx context.Context, id string) error {
	if err := f.Store.Delete(ctx, id); err != nil {
		return err
	}
	if namespace, ok := namespaces.Namespace(ctx); ok {
		f.tasks.Forget(namespace, id)
	}
	return nil
}
