package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/container"
)

// outside is a folder of the host that no copy may reach; its contents are told, with modes.
type outside struct {
	t   *testing.T
	dir string
}

func newOutside(t *testing.T) outside {
	t.Helper()
	o := outside{t, t.TempDir()}
	if err := os.WriteFile(filepath.Join(o.dir, "secret"), []byte("the host's"), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o outside) check() {
	o.t.Helper()
	entries, err := os.ReadDir(o.dir)
	if err != nil || len(entries) != 1 {
		o.t.Errorf("the host's folder was written: %v, %v", entries, err)
	}
	info, err := os.Stat(filepath.Join(o.dir, "secret"))
	if err != nil || info.Mode() != 0o600 || info.Size() != 10 {
		o.t.Errorf("the host's file was changed: %v, %v", info, err)
	}
}

// swap makes a name be a folder and a link to elsewhere in turn, until the test ends what it calls.
func swap(t *testing.T, name, target string) (stop func()) {
	t.Helper()
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name+".link"); err != nil {
		t.Fatal(err)
	}
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !ended.Load() {
			// What fails is for the next turn: a copy has made a folder there just now.
			_ = os.Rename(name, name+".dir")
			_ = os.Rename(name+".link", name)
			_ = os.Rename(name, name+".link")
			_ = os.Rename(name+".dir", name)
		}
	}()
	return func() { ended.Store(true); <-done }
}

// raceTime is how long a race is tried.
const raceTime = time.Second

// TestSwappedLinks is CVE-2018-15664: a folder becomes a link to the host while it is copied into and out of.
func TestSwappedLinks(t *testing.T) {
	o, shared := newOutside(t), t.TempDir()
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{shared + ":/shared"}})
	stop := swap(t, filepath.Join(shared, "x"), o.dir)
	tries, reached := 0, 0
	for start := time.Now(); time.Since(start) < raceTime; tries++ {
		if err := r.Put(t.Context(), "c", Put{Path: "/shared/x"}, packed(t, tar.Header{Name: "written", Typeflag: tar.TypeReg})); err == nil {
			reached++
		}
		content, _, err := r.Get(t.Context(), "c", "/shared/x/")
		if err != nil {
			continue
		}
		b, _ := io.ReadAll(content)
		content.Close()
		if bytes.Contains(b, []byte("the host's")) {
			t.Fatal("a file of the host was read")
		}
	}
	stop()
	o.check()
	t.Logf("%d tries, %d written", tries, reached)
	if reached == 0 {
		t.Error("the race was never won by us: it proves nothing")
	}
}

// TestSwappedPlaces is CVE-2026-42306: the place of a mount becomes a link while it is mounted for a copy.
func TestSwappedPlaces(t *testing.T) {
	o, shared := newOutside(t), t.TempDir()
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{shared + ":/shared", "inner:/shared/x"}})
	stop := swap(t, filepath.Join(shared, "x"), o.dir)
	reached := 0
	for start := time.Now(); time.Since(start) < raceTime; {
		if err := r.Put(t.Context(), "c", Put{Path: "/shared/x"}, packed(t, tar.Header{Name: "written", Typeflag: tar.TypeReg})); err == nil {
			reached++
		}
	}
	stop()
	o.check()
	if reached == 0 {
		t.Error("the race was never won by us: it proves nothing")
	}
}

// TestHostileArchives has names and links that lead out of where they are unpacked: CVE-2021-41089 and its kin.
func TestHostileArchives(t *testing.T) {
	o := newOutside(t)
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{"vol:/vol"}})
	secret := filepath.Join(o.dir, "secret")
	up := strings.Repeat("../", 20)
	for name, headers := range map[string][]tar.Header{
		"mode through a link":      {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: secret}, {Name: "l", Typeflag: tar.TypeReg, Mode: 0o4777}},
		"mode through a hard link": {{Name: "l", Typeflag: tar.TypeLink, Linkname: up + secret, Mode: 0o4777}},
		"hard link over a link":    {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: secret}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "l", Mode: 0o777}},
		"a name upwards":           {{Name: up + o.dir + "/up", Typeflag: tar.TypeReg}},
		"an absolute name":         {{Name: o.dir + "/abs", Typeflag: tar.TypeReg}},
		"through a link":           {{Name: "d", Typeflag: tar.TypeSymlink, Linkname: o.dir}, {Name: "d/through", Typeflag: tar.TypeReg}},
		"up through a link":        {{Name: "d", Typeflag: tar.TypeSymlink, Linkname: up + o.dir}, {Name: "d/through", Typeflag: tar.TypeReg}},
	} {
		for _, path := range []string{"/vol", "/"} {
			err := r.Put(t.Context(), "c", Put{Path: path}, packed(t, headers...))
			t.Logf("%s in %s: %v", name, path, err)
			o.check()
		}
	}
}

// TestNoProgramUnpacks is CVE-2026-41567: nothing is executed to decompress, wherever it would be found.
func TestNoProgramUnpacks(t *testing.T) {
	dir := t.TempDir()
	marker := filepath.Join(dir, "ran")
	for _, name := range []string{"unpigz", "gzip", "xz", "zstd", "tar"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n: >"+marker+"\ncat\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{dir + ":/usr/bin"}})
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := io.Copy(w, packed(t, tar.Header{Name: "f", Typeflag: tar.TypeReg})); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(t.Context(), "c", Put{Path: "/"}, &zipped); err != nil {
		t.Error(err)
	}
	if err := r.Put(t.Context(), "c", Put{Path: "/"}, strings.NewReader("\xfd7zXZ\x00 and so on")); err == nil {
		t.Error("an xz archive that is none was taken")
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program was run")
	}
}
