package faults_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
)

type imageSummary = image.Summary

// worker is one client, up to the death of the engine, and what that has acknowledged to it: true for what is there,
// false for what is not. Of what is under way nothing is known.
type worker struct {
	*killed
	name                        string
	client                      *client.Client
	random                      *rand.Rand
	failed                      chan error
	containers, images, volumes map[string]bool
	done                        int
}

// works is what clients do.
var works = []func(w *worker, ctx context.Context, name string) error{
	(*worker).lives, (*worker).lives, (*worker).further, (*worker).pulls, (*worker).saves, (*worker).commits, (*worker).copies,
	(*worker).names, (*worker).follows,
}

// know notes what is known of a thing.
func know(m *map[string]bool, name string, there bool) {
	if *m == nil {
		*m = map[string]bool{}
	}
	(*m)[name] = there
}

func quick(name string) client.ContainerCreateOptions { return want(name, "usleep 200000") }

// lives is the life of a container with volumes.
func (w *worker) lives(ctx context.Context, name string) error {
	c, zero := w.client, 0
	if _, err := c.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name}); err != nil {
		return fmt.Errorf("create volume: %w", err)
	}
	know(&w.volumes, name, true)
	o := want(name, "trap 'exit 7' TERM; while :; do usleep 10000; done")
	o.Config.StopSignal = "TERM"
	o.HostConfig.Binds = []string{name + ":/v", "/anonymous"}
	o.HostConfig.Binds = o.HostConfig.Binds[:1]
	o.Config.Volumes = map[string]struct{}{"/anonymous": {}}
	o.HostConfig.AutoRemove = w.random.IntN(4) == 0
	if _, err := c.ContainerCreate(ctx, o); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	know(&w.containers, name, true)
	if o.HostConfig.AutoRemove { // One whose start or restart does not come to its end is removed.
		delete(w.containers, name)
	}
	if _, err := c.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if w.random.IntN(2) == 0 {
		if _, err := c.ContainerRestart(ctx, name, client.ContainerRestartOptions{}); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
	}
	delete(w.containers, name)
	delete(w.volumes, name)
	if !o.HostConfig.AutoRemove && w.random.IntN(2) == 0 {
		if _, err := c.ContainerStop(ctx, name, client.ContainerStopOptions{Timeout: &zero}); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	if _, err := c.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
		return fmt.Errorf("rm: %w", err)
	}
	know(&w.containers, name, false)
	if _, err := c.VolumeRemove(ctx, name, client.VolumeRemoveOptions{}); err != nil {
		return fmt.Errorf("volume rm: %w", err)
	}
	know(&w.volumes, name, false)
	return nil
}

// further is a process in a container that stands.
func (w *worker) further(ctx context.Context, name string) error {
	x, err := w.client.ExecCreate(ctx, "further", client.ExecCreateOptions{AttachStdout: true, Cmd: []string{"echo", name}})
	if err != nil {
		return fmt.Errorf("exec create: %w", err)
	}
	a, err := w.client.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
	if err != nil {
		return fmt.Errorf("exec attach: %w", err)
	}
	defer a.Close()
	b, err := io.ReadAll(plain(a.Reader))
	if err != nil && !errors.Is(err, io.EOF) || ctx.Err() == nil && strings.TrimSpace(string(b)) != name {
		return fmt.Errorf("exec wrote %q, %w", b, err)
	}
	return nil
}

// pulls pulls an image, pushes it under another name, and removes both.
func (w *worker) pulls(ctx context.Context, name string) error {
	c := w.client
	delete(w.images, pushed)
	p, err := c.ImagePull(ctx, pushed, client.ImagePullOptions{})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	know(&w.images, pushed, true)
	other := "127.0.0.1:5000/" + name + ":2"
	if _, err := c.ImageTag(ctx, client.ImageTagOptions{Source: pushed, Target: other}); err != nil {
		return fmt.Errorf("tag: %w", err)
	}
	know(&w.images, other, true)
	q, err := c.ImagePush(ctx, other, client.ImagePushOptions{RegistryAuth: "e30="})
	if err == nil {
		err = q.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	for _, ref := range []string{pushed, other} {
		delete(w.images, ref)
		if _, err := c.ImageRemove(ctx, ref, client.ImageRemoveOptions{}); err != nil {
			return fmt.Errorf("rmi: %w", err)
		}
		know(&w.images, ref, false)
	}
	return nil
}

// saves saves an image, imports and loads it.
func (w *worker) saves(ctx context.Context, name string) error {
	c := w.client
	name += ":saved"
	if _, err := c.ImageTag(ctx, client.ImageTagOptions{Source: busybox, Target: name}); err != nil {
		return fmt.Errorf("tag: %w", err)
	}
	know(&w.images, name, true)
	r, err := c.ImageSave(ctx, []string{name})
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	archive, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	delete(w.images, name)
	if _, err := c.ImageRemove(ctx, name, client.ImageRemoveOptions{}); err != nil {
		return fmt.Errorf("rmi: %w", err)
	}
	l, err := c.ImageLoad(ctx, bytes.NewReader(archive))
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	said, err := io.ReadAll(l)
	if err = errors.Join(err, l.Close()); err != nil || bytes.Contains(said, []byte("errorDetail")) {
		return fmt.Errorf("load: %s, %w", said, err)
	}
	know(&w.images, name, true)
	return nil
}

// commits makes an image of a container, and runs it.
func (w *worker) commits(ctx context.Context, name string) error {
	c := w.client
	if _, err := c.ContainerCommit(ctx, "committed", client.ContainerCommitOptions{Reference: name + ":committed"}); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	know(&w.images, name+":committed", true)
	o := want(name, "grep -q kept /kept && exit 5")
	o.Config.Image = name + ":committed"
	if _, err := c.ContainerCreate(ctx, o); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	know(&w.containers, name, true)
	wait := c.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := c.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	select {
	case r := <-wait.Result:
		if r.StatusCode != 5 {
			return fmt.Errorf("wait: %+v", r)
		}
	case err := <-wait.Error:
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}

// copies copies files into containers that run and that do not, and out again.
func (w *worker) copies(ctx context.Context, name string) error {
	c := w.client
	for _, where := range []string{"further", "still"} {
		content := bytes.Repeat([]byte(name), 20_000)
		var in bytes.Buffer
		t := tar.NewWriter(&in)
		if err := errors.Join(t.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}), second(t.Write(content)), t.Close()); err != nil {
			return err
		}
		if _, err := c.CopyToContainer(ctx, where, client.CopyToContainerOptions{DestinationPath: "/tmp", Content: &in}); err != nil {
			return fmt.Errorf("cp to %s: %w", where, err)
		}
		out, err := c.CopyFromContainer(ctx, where, client.CopyFromContainerOptions{SourcePath: "/tmp/" + name})
		if err != nil {
			return fmt.Errorf("cp from %s: %w", where, err)
		}
		defer out.Content.Close()
		r := tar.NewReader(out.Content)
		if _, err := r.Next(); err != nil {
			return fmt.Errorf("cp from %s: %w", where, err)
		}
		if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, content) {
			return fmt.Errorf("cp from %s: %d bytes, %w", where, len(back), err)
		}
	}
	return nil
}

func second(_ int, err error) error { return err }

// names renames and updates a container.
func (w *worker) names(ctx context.Context, name string) error {
	c := w.client
	if _, err := c.ContainerCreate(ctx, quick(name+"-old")); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if _, err := c.ContainerRename(ctx, name+"-old", client.ContainerRenameOptions{NewName: name}); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	know(&w.containers, name, true)
	know(&w.containers, name+"-old", false)
	if _, err := c.ContainerUpdate(ctx, name, client.ContainerUpdateOptions{Resources: &container.Resources{CPUShares: 512}}); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	_, err := c.ContainerStart(ctx, name, client.ContainerStartOptions{})
	return err
}

// follows reads a log that grows.
func (w *worker) follows(ctx context.Context, _ string) error {
	r, err := w.client.ContainerLogs(ctx, "chatty", client.ContainerLogsOptions{ShowStdout: true, Follow: true, Tail: "5"})
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	defer r.Close()
	if n, err := io.CopyN(io.Discard, plain(r), 500); err != nil {
		return fmt.Errorf("logs: %d bytes, %w", n, err)
	}
	return nil
}

// acknowledged looks for what the worker was told to be done.
func (w *worker) acknowledged() {
	w.t.Helper()
	check := func(kind string, known map[string]bool, ask func(name string) error) {
		for _, name := range slices.Sorted(maps.Keys(known)) {
			switch err := ask(name); {
			case err != nil && !errdefs.IsNotFound(err):
				w.t.Errorf("%s %s: %v", kind, name, err)
			case (err == nil) != known[name]:
				w.t.Errorf("%s %s is there: %v (%v); acknowledged was: %v", kind, name, err == nil, err, known[name])
			}
		}
	}
	ctx := limited(w.t, patience)
	check("container", w.containers, func(name string) error {
		_, err := w.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		return err
	})
	check("image", w.images, func(name string) error { _, err := w.ImageInspect(ctx, name); return err })
	check("volume", w.volumes, func(name string) error {
		_, err := w.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		return err
	})
}
