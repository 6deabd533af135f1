package store

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// doubtful remembers layers that a loss of power may have taken files from, and that had to stay because containers, or
// other layers, stand on them. Each goes with the last of those, so that it is unpacked again; without that, the next
// container would get it as it is.
type doubtful struct {
	path string // of a file with a line for each: namespace and name
	mu   sync.Mutex
	all  []snapshotRecord
}

// openDoubtful reads the file in the snapshotter's root.
func openDoubtful(root string) (*doubtful, error) {
	d := &doubtful{path: filepath.Join(root, "doubtful")}
	text, err := os.ReadFile(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if namespace, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			d.all = append(d.all, snapshotRecord{namespace, name})
		}
	}
	return d, nil
}

func (d *doubtful) list() []snapshotRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

// set replaces them, also on the disk.
func (d *doubtful) set(all []snapshotRecord) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.replace(all)
}

func (d *doubtful) replace(all []snapshotRecord) error {
	if len(all) == 0 && len(d.all) == 0 {
		return nil
	}
	d.all = all
	if len(all) == 0 {
		return os.Remove(d.path)
	}
	var text strings.Builder
	for _, r := range all {
		text.WriteString(r.namespace + " " + r.name + "\n")
	}
	f, err := os.OpenFile(d.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text.String())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(d.path+".new", d.path), syncDir(filepath.Dir(d.path)))
}

// removed is called after a snapshot was removed: one that it stood on may be free now.
func (d *doubtful) removed(ctx context.Context, sn snapshots.Snapshotter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) == 0 {
		return
	}
	var stay []snapshotRecord
	remove := func(r snapshotRecord) error {
		return sn.Remove(namespaces.WithNamespace(ctx, r.namespace), r.name)
	}
	if err := leavesFirst(d.all, remove); err != nil {
		slog.WarnContext(ctx, "a snapshot that may have lost files stays", "error", err)
	}
	for _, r := range d.all {
		if _, err := sn.Stat(namespaces.WithNamespace(ctx, r.namespace), r.name); !errdefs.IsNotFound(err) {
			stay = append(stay, r)
		}
	}
	if len(stay) == len(d.all) {
		return
	}
	slog.InfoContext(ctx, "a snapshot that may have lost files is removed, to be unpacked again", "stay", stay)
	if err := d.replace(stay); err != nil {
		slog.WarnContext(ctx, "snapshots that may have lost files", "error", err)
	}
}
