package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// Delete runs the delete action of the bundle's shim, for a server that is dead. It can be repeated. Errors:
// errdefs.ErrNotFound where the bundle does not name a binary that there is, ErrUnavailable for one that fails.
func (l *Launcher) Delete(ctx context.Context, b *bundle.Bundle) (*taskv3.DeleteResponse, error) {
	binary, err := binaryOf(b)
	if err != nil {
		return nil, err
	}
	args, err := l.command(b, "delete")
	if err != nil {
		return nil, err
	}
	out, words, err := run{
		binary: binary, args: args, dir: b.Path, env: l.environment(b), limit: l.limits.delete,
	}.do(ctx)
	if err != nil {
		return nil, fmt.Errorf("delete of %s: %w: %w", filepath.Base(binary), err, errdefs.ErrUnavailable)
	}
	if words != "" {
		slog.Warn("shim delete", "namespace", b.Namespace, "id", b.ID, "binary", binary, "stderr", words)
	}
	l.removeSockets(b) // which shims of containerd leave when they are killed
	answer := &taskv3.DeleteResponse{}
	if err := proto.Unmarshal(out, answer); err != nil {
		return nil, fmt.Errorf("delete of %s: its answer: %w: %w", filepath.Base(binary), err, errdefs.ErrUnavailable)
	}
	return answer, nil
}

// removeSockets removes those of a dead shim; one that still serves others of its group answers.
func (l *Launcher) removeSockets(b *bundle.Bundle) {
	l.removeOwnSockets(b)
	for _, place := range l.saved(b) {
		name, err := socketName(place.Address)
		if err != nil {
			continue
		}
		if _, err := os.Lstat(name); err != nil {
			continue // As a rule the shim has removed it; to look through all bundles for others takes long.
		}
		if othersAt(b, place.Address) == "" {
			removeStale(place.Address)
		} else {
			removeStaleGroup(place.Address)
		}
	}
}

// removeOwnSockets removes those that have the bundle's name and that nobody listens at, and tells whether none is left.
func (l *Launcher) removeOwnSockets(b *bundle.Bundle) bool {
	none := true
	for _, dir := range l.socketDirs(b) {
		// The second is that of containerd's shim under -debug, for pprof.
		for _, name := range []string{b.ID, filepath.Join(b.ID, "debug")} {
			address := addressIn(dir, l.config.Address, b.Namespace, name)
			removeStale(address)
			if _, err := os.Lstat(strings.TrimPrefix(address, "unix://")); err == nil {
				none = false
			}
		}
	}
	return none
}

// binaryOf is the binary of the shim that was started for a bundle.
func binaryOf(b *bundle.Bundle) (string, error) {
	data, err := os.ReadFile(filepath.Join(b.Path, binaryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no shim was started for it: %w", b.Path, errdefs.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	if binary := string(data); filepath.IsAbs(binary) && executable(binary) {
		return binary, nil
	}
	return "", fmt.Errorf("%s: the shim %q is not there any more: %w", b.Path, data, errdefs.ErrNotFound)
}
