package compat

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// ImageName is the reference that the archive of Image carries.
const ImageName = "docker.io/library/busybox:gantry"

// Image writes an archive of a busybox image into dir, in the form of `docker save`, which
// docker, ctr and podman all load, and returns its path.
func Image(t testing.TB, dir string) string {
	t.Helper()
	layer := RootfsTar(t, dir)
	content, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
	config := imageConfig(t, content)
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{ImageName}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct {
		name    string
		content []byte
	}{{"layer.tar", content}, {"config.json", config}, {"manifest.json", manifest}} {
		addFile(t, w, f.name, f.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "busybox.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// imageConfig is the image's configuration: image-spec, config.md.
func imageConfig(t testing.TB, layer []byte) []byte {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}, "Cmd": []string{"sh"},
		},
		"rootfs": map[string]any{
			"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))},
		},
		"history": []map[string]string{{"created_by": "tests/compat"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func addFile(t testing.TB, w *tar.Writer, name string, content []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

// RootfsTar writes a tar of a busybox root file system into dir and returns its path: what
// `docker import` and ADD in a Dockerfile take.
func RootfsTar(t testing.TB, dir string) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{{"bin", 0o755}, {"dev", 0o755}, {"etc", 0o755}, {"home", 0o755}, {"proc", 0o555}, {"root", 0o700}, {"run", 0o755}, {"sys", 0o555}, {"tmp", 0o1777}, {"usr", 0o755}, {"var", 0o755}} {
		writeHeader(t, w, &tar.Header{Typeflag: tar.TypeDir, Name: d.name + "/", Mode: int64(d.mode)})
	}
	writeHeader(t, w, &tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))})
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			writeHeader(t, w, &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777})
		}
	}
	addFile(t, w, "etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n"))
	addFile(t, w, "etc/group", []byte("root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "rootfs.tar")
	if err := os.WriteFile(path, layer.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeHeader(t testing.TB, w *tar.Writer, h *tar.Header) {
	t.Helper()
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
}
