package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Media types of the OCI image specification, media-types.md.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

const busyboxRepo = "containerd/busybox"

// roles are the images of the suite: integration/images/image_list.go of containerd, and those that its tests name.
var roles = []struct {
	repo, tag string
	layers    int
	linux     bool
}{
	{busyboxRepo, "1.36", 1, true},
	{"containerd/alpine", "3.14.0", 1, true},
	{"pause", "3.10.2", 1, true},
	{"pause", "3.6", 1, true},
	{"e2e-test-images/busybox", "1.29-2", 1, true},
	{"containerd/volume-copy-up", "2.2", 3, true},
	{"containerd/volume-ownership", "2.1", 3, true},
	{"containerd/windows/nanoserver", "1809", 1, false},
}

// makeImages makes the image of every role, for several platforms: what is run is that of this machine.
func makeImages() (*registry, error) {
	base, err := rootfs()
	if err != nil {
		return nil, err
	}
	r := &registry{blobs: map[string]blob{}, tags: map[string]map[string]string{}}
	for _, role := range roles {
		places := []platform{
			{Architecture: "amd64", OS: "linux"}, {Architecture: "arm64", OS: "linux", Variant: "v8"}, {Architecture: "s390x", OS: "linux"},
		}
		if !role.linux {
			places = []platform{{Architecture: "amd64", OS: "windows"}}
		}
		index, err := r.addIndex(role.repo+":"+role.tag, base, role.layers, places)
		if err != nil {
			return nil, err
		}
		if r.tags[role.repo] == nil {
			r.tags[role.repo] = map[string]string{}
		}
		r.tags[role.repo][role.tag] = index.Digest
	}
	return r, nil
}

func (r *registry) addIndex(name string, base archive, layers int, places []platform) (descriptor, error) {
	var manifests []descriptor
	for _, place := range places {
		var archives []archive
		if place.OS == "linux" && place.Architecture == runtime.GOARCH {
			archives = append(archives, base)
		}
		for n := range layers {
			var layer archive
			layer.directory("etc", 0o755)
			layer.file(fmt.Sprintf("etc/layer-%d", n), 0o644, fmt.Appendf(nil, "%s %s\n", name, place.Architecture))
			archives = append(archives, layer)
		}
		manifest, err := r.addManifest(place, archives)
		if err != nil {
			return descriptor{}, err
		}
		manifest.Platform = &place
		manifests = append(manifests, manifest)
	}
	return r.addJSON(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": manifests})
}

func (r *registry) addManifest(place platform, archives []archive) (descriptor, error) {
	var layers []descriptor
	var diffIDs []string
	for _, a := range archives {
		content, compressed, err := a.bytes()
		if err != nil {
			return descriptor{}, err
		}
		diffIDs = append(diffIDs, fmt.Sprintf("sha256:%x", sha256.Sum256(content)))
		layers = append(layers, r.add(typeLayer, compressed))
	}
	config, err := r.addJSON(typeConfig, map[string]any{
		"architecture": place.Architecture, "os": place.OS, "variant": place.Variant,
		"config": map[string]any{"Env": []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		return descriptor{}, err
	}
	return r.addJSON(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": layers,
	})
}

// rootfs is a busybox root file system with the users and programs that the suite's tests ask for.
func rootfs() (archive, error) {
	var a archive
	path, err := exec.LookPath("busybox")
	if err != nil {
		return a, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return a, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return a, err
	}
	for dir := range strings.FieldsSeq("bin dev etc home proc run sys usr usr/bin var") {
		a.directory(dir, 0o755)
	}
	a.directory("root", 0o700)
	a.directory("tmp", 0o1777)
	a.file("bin/busybox", 0o755, program)
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			a.symlink("bin/"+name, "busybox")
		}
	}
	a.file("bin/bash", 0o755, []byte("#!/bin/sh\nexec /bin/sh \"$@\"\n"))
	a.file("usr/bin/passwd", 0o4755, program)
	a.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nsys:x:3:3::/:/bin/false\n"+
		"games:x:5:60::/:/bin/false\nwww-data:x:33:33::/:/bin/false\nbackup:x:34:34::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"))
	a.file("etc/group", 0o644, []byte("root:x:0:\ndaemon:x:1:\nsys:x:3:\nadm:x:4:daemon\ntty:x:5:\nwww-data:x:33:\nbackup:x:34:\nusers:x:100:\nnogroup:x:65534:\n"))
	return a, nil
}

// archive is a layer in the making: its entries, which have no times, so that the digests are the same each time.
type archive struct {
	entries []entry
}

type entry struct {
	header  tar.Header
	content []byte
}

func (a *archive) directory(name string, mode int64) {
	a.entries = append(a.entries, entry{header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}})
}

func (a *archive) file(name string, mode int64, content []byte) {
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}
	a.entries = append(a.entries, entry{header, content})
}

func (a *archive) symlink(name, target string) {
	a.entries = append(a.entries, entry{header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}})
}

// bytes is the tar, and the same compressed.
func (a *archive) bytes() (content, compressed []byte, err error) {
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, e := range a.entries {
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		return nil, nil, err
	}
	if err := z.Close(); err != nil {
		return nil, nil, err
	}
	return plain.Bytes(), packed.Bytes(), nil
}
