package manager_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Media types of the OCI image specification, media-types.md.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor is the OCI image specification's, descriptor.md.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// layout is an image in the making: what is in an OCI image layout, or in a registry.
type layout struct {
	t        testing.TB
	name     string
	blobs    map[string][]byte // by digest
	manifest descriptor
}

// newLayout makes an image of these layers, each a tar. It has no times, so that its digests are the same each time.
func newLayout(t testing.TB, name string, layers ...[]byte) *layout {
	t.Helper()
	l := &layout{t: t, name: name, blobs: map[string][]byte{}}
	var list []descriptor
	ids := []string{}
	for _, content := range layers {
		ids = append(ids, digestOf(content))
		list = append(list, l.add(typeLayer, gzipped(t, content)))
	}
	config := l.addJSON(typeConfig, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	l.manifest = l.addJSON(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": list})
	return l
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// add keeps content and describes it.
func (l *layout) add(mediaType string, content []byte) descriptor {
	digest := digestOf(content)
	l.blobs[digest] = content
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(content)}
}

func (l *layout) addJSON(mediaType string, value any) descriptor {
	l.t.Helper()
	content, err := json.Marshal(value)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.add(mediaType, content)
}

// layerDigest is the digest of the nth layer.
func (l *layout) layerDigest(n int) string {
	l.t.Helper()
	var manifest struct{ Layers []descriptor }
	if err := json.Unmarshal(l.blobs[l.manifest.Digest], &manifest); err != nil {
		l.t.Fatal(err)
	}
	return manifest.Layers[n].Digest
}

// archive writes the image as an OCI archive: image-layout.md in a tar.
func (l *layout) archive(dir string) string {
	l.t.Helper()
	manifest := l.manifest
	manifest.Annotations = map[string]string{"io.containerd.image.name": l.name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{manifest}})
	if err != nil {
		l.t.Fatal(err)
	}
	entries := []entry{file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", string(index))}
	for _, digest := range slices.Sorted(maps.Keys(l.blobs)) {
		entries = append(entries, file("blobs/"+strings.Replace(digest, ":", "/", 1), string(l.blobs[digest])))
	}
	path := filepath.Join(dir, strings.NewReplacer("/", "-", ":", "-").Replace(l.name)+".tar")
	if err := os.WriteFile(path, tarOf(l.t, entries...), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// entry is one of a tar's.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func directory(name string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}}
}

func link(kind byte, name, target string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}}
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
