package engine_test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/bench/side"
)

// The image that is pulled: layers of files of which half can be compressed.
const (
	pullLayers   = 20
	fileSize     = 128 << 10
	typeManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeConfig   = "application/vnd.docker.container.image.v1+json"
	typeLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// pulls measures how long an image takes from a registry until a container could begin.
func (s both) pulls(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	megabytes := number("GANTRY_BENCH_IMAGE", 1000)
	r := makeImage(b, megabytes)
	s.each(func(e *engine) { r.serve(b, e) })
	side.Pairs(out, fmt.Sprintf("pull %d layers, %d MB, %s", pullLayers, megabytes, place), pairs, s.turns(func(e *engine) side.Cost {
		unix.Sync() // what the turn before has written is no part of this one
		c := e.command("pull", "--quiet", pullImage)
		e.command("rmi", pullImage)
		return c
	}))
}

// makeImage makes an image of so many megabytes before compression.
func makeImage(b *testing.B, megabytes int) *registry {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "layers") //nolint:usetesting // in memory, wherever the data-roots are
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &registry{dir: dir, types: map[string]string{}}
	layers, diffIDs := make([]map[string]any, pullLayers), make([]string, pullLayers)
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for n := range pullLayers {
		g.Go(func() (err error) {
			layers[n], diffIDs[n], err = makeLayer(dir, n, megabytes<<20/pullLayers)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	config := r.add(b, typeConfig, encode(b, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}))
	manifest := r.add(b, typeManifest, encode(b, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": layers}))
	r.manifest = fmt.Sprint(manifest["digest"])
	return r
}

// makeLayer writes a layer with a directory of its own, and returns its descriptor and the digest of its tar.
func makeLayer(dir string, n, size int) (descriptor map[string]any, diffID string, err error) {
	f, err := os.CreateTemp(dir, "layer")
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	packed, plain := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, packed), gzip.BestSpeed)
	if err != nil {
		return nil, "", err
	}
	w := tar.NewWriter(io.MultiWriter(z, plain))
	random := rand.NewChaCha8([32]byte{byte(n)})
	file := make([]byte, fileSize)
	for i := range size / fileSize {
		if _, err := io.ReadFull(random, file[:fileSize/2]); err != nil {
			return nil, "", err
		}
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("layer-%d/file-%d", n, i), Mode: 0o644, Size: fileSize}); err != nil {
			return nil, "", err
		}
		if _, err := w.Write(file); err != nil {
			return nil, "", err
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	id := fmt.Sprintf("sha256:%x", packed.Sum(nil))
	return map[string]any{"mediaType": typeLayer, "digest": id, "size": st.Size()}, fmt.Sprintf("sha256:%x", plain.Sum(nil)),
		os.Rename(f.Name(), filepath.Join(dir, id))
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
