package manager_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat"
)

// The image that is pulled: 20 layers of 100 files, 3 MB each, of which half can be compressed.
const (
	pullLayers   = 20
	layerFiles   = 100
	fileSize     = 32 << 10
	registry     = "127.0.0.1:5000"
	pullImage    = registry + "/bench/layers:v1"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// pulls measures how long an image takes from a registry until a container could begin.
func (s both) pulls(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	compat.Registry(b, registry, nil)
	s[1].Ctr("images", "import", imageArchive(b))
	s[1].Ctr("images", "push", "--plain-http", pullImage)
	s[1].Ctr("images", "rm", "--sync", pullImage)
	side.Pairs(out, fmt.Sprintf("pull %d layers, %s", pullLayers, place), pairs, s.turns(func(s *side.Side) side.Cost {
		unix.Sync() // what the turn before has written is no part of this one
		c := s.Measure("images", "pull", "--plain-http", pullImage)
		s.Ctr("images", "rm", "--sync", pullImage)
		return c
	}))
}

// imageArchive writes the image as an OCI layout.
func imageArchive(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "image.tar")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	random := rand.NewChaCha8([32]byte{})
	var diffIDs []string
	var layers []map[string]any
	for n := range pullLayers {
		plain := layer(b, n, random)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(plain); err != nil {
			b.Fatal(err)
		}
		if err := z.Close(); err != nil {
			b.Fatal(err)
		}
		diffIDs = append(diffIDs, digest(plain))
		layers = append(layers, add(b, w, typeLayer, packed.Bytes()))
	}
	config := add(b, w, typeConfig, encode(b, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}))
	manifest := add(b, w, typeManifest, encode(b, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": layers}))
	manifest["annotations"] = map[string]string{"io.containerd.image.name": pullImage}
	write(b, w, "index.json", encode(b, map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}))
	write(b, w, "oci-layout", []byte(`{"imageLayoutVersion": "1.0.0"}`))
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// layer is the tar of one layer, with a directory of its own.
func layer(b *testing.B, n int, random io.Reader) []byte {
	b.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for i := range layerFiles {
		file := make([]byte, fileSize)
		if _, err := io.ReadFull(random, file[:fileSize/2]); err != nil {
			b.Fatal(err)
		}
		write(b, w, fmt.Sprintf("layer-%d/file-%d", n, i), file)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return content.Bytes()
}

// add writes a blob, and returns its descriptor.
func add(b *testing.B, w *tar.Writer, mediaType string, content []byte) map[string]any {
	b.Helper()
	id := digest(content)
	write(b, w, "blobs/sha256/"+id[len("sha256:"):], content)
	return map[string]any{"mediaType": mediaType, "digest": id, "size": len(content)}
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

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
