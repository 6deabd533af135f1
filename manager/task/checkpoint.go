package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	eventtypes "github.com/containerd/containerd/api/events"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// rootfsArchive lies beside a checkpoint that other tools made: what the container had changed of its files.
const rootfsArchive = "rootfs-diff.tar"

func tempDir() (string, error) {
	return os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "gantry-checkpoint-")
}

// downloadedName is the folder of a bundle's work folder that a checkpoint is brought to: the task is restored when it
// is started, perhaps by another manager, and if it never is, the checkpoint goes with the bundle.
const downloadedName = "gantry-checkpoint"

func downloaded(b *bundle.Bundle) string { return filepath.Join(b.Work, downloadedName) }

// download brings the checkpoint of a plan to a directory, unless it is in one, or there is none.
func (m *Manager) download(ctx context.Context, p plan, b *bundle.Bundle) (dir string, err error) {
	d := p.request.Checkpoint
	if p.checkpoint != "" || d == nil {
		return p.checkpoint, nil
	}
	if d.MediaType != images.MediaTypeContainerd1Checkpoint {
		return "", fmt.Errorf("unsupported checkpoint type %q: %w", d.MediaType, errdefs.ErrInvalidArgument)
	}
	dir = downloaded(b)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	reader, err := m.cfg.Content.ReaderAt(ctx, ocispec.Descriptor{
		MediaType:   d.MediaType,
		Digest:      digest.Digest(d.Digest),
		Size:        d.Size,
		Annotations: d.Annotations,
	})
	if err != nil {
		return "", err
	}
	defer reader.Close()
	if _, err := archive.Apply(ctx, dir, content.NewReader(reader)); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	return dir, nil
}

// forgetCheckpoint removes what was downloaded, after the task was restored.
func (t *task) forgetCheckpoint() error {
	t.mu.Lock()
	b := t.bundle
	t.mu.Unlock()
	if b == nil {
		return nil
	}
	return os.RemoveAll(downloaded(b))
}

// restore starts a task that is made from a checkpoint of other tools, with the files that the container had changed.
func (t *task) restore(ctx context.Context, s *shim.Shim, b *bundle.Bundle, checkpoint string) (uint32, error) {
	f, err := os.Open(filepath.Join(checkpoint, "..", rootfsArchive))
	if err == nil {
		defer f.Close()
		err = unpack(ctx, f, filepath.Join(b.Path, "rootfs"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s: %w", rootfsArchive, err)
	}
	answer, err := s.Tasks().Start(ctx, &taskv3.StartRequest{ID: t.id})
	if err != nil {
		return 0, err
	}
	return answer.Pid, nil
}

func unpack(ctx context.Context, f io.Reader, dir string) error {
	tar, err := compression.DecompressStream(f)
	if err != nil {
		return err
	}
	defer tar.Close()
	_, err = archive.Apply(ctx, dir, tar)
	return err
}

// Checkpoint writes the state of a running task into the path that the options name, or into the content store.
func (m *Manager) Checkpoint(ctx context.Context, r *tasks.CheckpointTaskRequest) (*tasks.CheckpointTaskResponse, error) {
	c, err := m.cfg.Containers.Get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	dir, err := checkpointPath(c.Runtime.Name, r.Options)
	if err != nil {
		return nil, err
	}
	store := dir == ""
	if store {
		if dir, err = tempDir(); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	err = t.call(ctx, m.limits.checkpoint, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.Checkpoint(ctx, &taskv3.CheckpointTaskRequest{ID: t.id, Path: dir, Options: r.Options})
		return err
	})
	if err != nil {
		return nil, t.refused("checkpoint", err)
	}
	var answer tasks.CheckpointTaskResponse
	if store {
		if answer.Descriptors, err = m.keepCheckpoint(ctx, dir, c.Spec); err != nil {
			return nil, err
		}
	}
	ctx = namespaces.WithNamespace(ctx, t.namespace)
	t.warn("its event", m.cfg.Events.Publish(ctx, checkpointTopic, &eventtypes.TaskCheckpointed{ContainerID: t.id, Checkpoint: dir}))
	return &answer, nil
}

// keepCheckpoint writes the checkpoint into the content store, and the container's spec.
func (m *Manager) keepCheckpoint(ctx context.Context, dir string, spec typeurl.Any) ([]*types.Descriptor, error) {
	tar := archive.Diff(ctx, "", dir)
	defer tar.Close()
	checkpoint, err := m.keep(ctx, images.MediaTypeContainerd1Checkpoint, dir, tar)
	if err != nil {
		return nil, err
	}
	text, err := proto.Marshal(typeurl.MarshalProto(spec))
	if err != nil {
		return nil, err
	}
	config, err := m.keep(ctx, images.MediaTypeContainerd1CheckpointConfig, filepath.Join(dir, "spec"), bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return []*types.Descriptor{checkpoint, config}, nil
}

func (m *Manager) keep(ctx context.Context, mediaType, ref string, r io.Reader) (*types.Descriptor, error) {
	w, err := m.cfg.Content.Writer(ctx, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{MediaType: mediaType}))
	if err != nil {
		return nil, err
	}
	defer w.Close()
	size, err := io.Copy(w, r)
	if err != nil {
		return nil, err
	}
	if err := w.Commit(ctx, 0, ""); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, err
	}
	return &types.Descriptor{
		MediaType:   mediaType,
		Digest:      w.Digest().String(),
		Size:        size,
		Annotations: map[string]string{},
	}, nil
}

// checkpointPath is the directory that the options name, if they do.
func checkpointPath(runtime string, from *anypb.Any) (string, error) {
	if from == nil {
		return "", nil
	}
	v, err := typeurl.UnmarshalAny(from)
	if err != nil {
		return "", fmt.Errorf("checkpoint options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	o, ok := v.(*options.CheckpointOptions)
	if !ok {
		return "", fmt.Errorf("invalid task checkpoint option for %s: %w", runtime, errdefs.ErrInvalidArgument)
	}
	return o.ImagePath, nil
}
