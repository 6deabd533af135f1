package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"testing"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/bench/side"
)

// How much there is to list.
const (
	stoppedContainers = 450
	runningContainers = 50
	listedImages      = 300
)

// lists measures ps with many containers, and images with many images. What the CLI itself needs is in its row, and not in
// that of the API.
func (s both) lists(b *testing.B, out io.Writer, pairs int) {
	b.Helper()
	ctx := context.Background()
	s.each(func(e *engine) {
		for range stoppedContainers {
			_, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &api.Config{Image: image, Cmd: []string{"true"}}, HostConfig: &api.HostConfig{NetworkMode: "none"}})
			if err != nil {
				b.Fatal(err)
			}
		}
		e.sleepers(runningContainers)
		e.load(manyImages(b))
	})
	defer s.each(func(e *engine) {
		list, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true})
		if err != nil {
			b.Fatal(err)
		}
		var ids []string
		for _, c := range list.Items {
			ids = append(ids, c.ID)
		}
		e.remove(ids)
	})
	side.Pairs(out, "docker ps -a, 500", pairs, s.turns(func(e *engine) side.Cost { return e.command("ps", "-a") }))
	side.Pairs(out, "the same by API, 10 times", pairs, s.turns(func(e *engine) side.Cost {
		return e.measure(func() error {
			return e.tenTimes(func() (int, error) {
				list, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true})
				return len(list.Items), err
			}, stoppedContainers+runningContainers)
		})
	}))
	side.Pairs(out, "docker images, 300", pairs, s.turns(func(e *engine) side.Cost { return e.command("images") }))
	side.Pairs(out, "the same by API, 10 times", pairs, s.turns(func(e *engine) side.Cost {
		return e.measure(func() error {
			return e.tenTimes(func() (int, error) {
				list, err := e.api.ImageList(ctx, client.ImageListOptions{})
				return len(list.Items), err
			}, listedImages+1)
		})
	}))
}

func (e *engine) tenTimes(list func() (int, error), want int) error {
	for range 10 {
		if n, err := list(); err != nil || n != want {
			return fmt.Errorf("%d of %d are listed: %w", n, want, err)
		}
	}
	return nil
}

func (e *engine) load(archive []byte) {
	e.t.Helper()
	r, err := e.api.ImageLoad(context.Background(), bytes.NewReader(archive))
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		e.t.Fatal(err)
	}
	if bytes.Contains(text, []byte(`"error"`)) {
		e.t.Fatalf("%s: %s", e.name, text)
	}
}

// manyImages is an archive of docker save, of images that have two layers: one is the same in all of them.
func manyImages(b *testing.B) []byte {
	b.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	base := oneFile(b, "base")
	write(b, w, "base.tar", base)
	var manifest []map[string]any
	for n := range listedImages {
		layer, own := oneFile(b, fmt.Sprintf("file-%d", n)), fmt.Sprintf("%d.tar", n)
		write(b, w, own, layer)
		config := encode(b, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux", "created": "2026-01-02T03:04:05Z",
			"config": map[string]any{"Cmd": []string{"true"}, "Labels": map[string]string{"number": fmt.Sprint(n)}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(base), digest(layer)}},
		})
		name := digest(config)[len("sha256:"):] + ".json"
		write(b, w, name, config)
		manifest = append(manifest, map[string]any{"Config": name, "RepoTags": []string{fmt.Sprintf("many/image-%d:v1", n)}, "Layers": []string{"base.tar", own}})
	}
	write(b, w, "manifest.json", encode(b, manifest))
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return archive.Bytes()
}

// oneFile is the tar of a layer.
func oneFile(b *testing.B, name string) []byte {
	b.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	write(b, w, name, []byte(name))
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return layer.Bytes()
}

func write(b *testing.B, w *tar.Writer, name string, content []byte) {
	b.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		b.Fatal(err)
	}
}

func encode(b *testing.B, value any) []byte {
	b.Helper()
	content, err := json.Marshal(value)
	if err != nil {
		b.Fatal(err)
	}
	return content
}
