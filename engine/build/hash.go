package build

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	goarchive "github.com/moby/go-archive"

	"github.com/gantry-containers/gantry/engine/archive"
)

// sum is the digest of what a source would copy: names, kinds, modes, owners, security attributes and content, but not
// times. It is "file:…" or "dir:…" in hexadecimal digits.
func (t *tree) sum(name string) (sum string, err error) {
	abs, err := inside(name)
	if err != nil {
		return "", err
	}
	err = t.view.Run(func() error {
		sum, err = sumHere(abs)
		return err
	})
	return sum, err
}

// sumHere works inside a view.
func sumHere(name string) (string, error) {
	found, err := archive.Follow(name)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(found)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		h := sha256.New()
		if err := addEntry(h, found, info); err != nil {
			return "", err
		}
		return "file:" + hex.EncodeToString(h.Sum(nil)), nil
	}
	h := sha256.New()
	err = filepath.WalkDir(found, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return addEntry(h, p, info)
	})
	return "dir:" + hex.EncodeToString(h.Sum(nil)), err
}

// addEntry adds one file. Every field is told with its length, so that no two trees look the same.
func addEntry(h hash.Hash, name string, info fs.FileInfo) error {
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(name); err != nil {
			return err
		}
	}
	header, err := goarchive.FileInfoHeader(name, info, link)
	if err != nil {
		return err
	}
	if err := goarchive.ReadSecurityXattrToTarHeader(name, header); err != nil {
		return err
	}
	addHeader(h, header)
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil
	}
	f, err := openHere(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(h, f)
	return errors.Join(err, f.Close())
}

func addHeader(h hash.Hash, t *tar.Header) {
	fields := []string{
		path.Join("/", t.Name), string(t.Typeflag), t.Linkname,
		fmt.Sprint(t.Mode), fmt.Sprint(t.Uid), fmt.Sprint(t.Gid), fmt.Sprint(t.Size), fmt.Sprint(t.Devmajor), fmt.Sprint(t.Devminor),
	}
	for _, k := range slices.Sorted(maps.Keys(t.PAXRecords)) {
		if strings.HasPrefix(k, "SCHILY.xattr.") {
			fields = append(fields, k, t.PAXRecords[k])
		}
	}
	for _, f := range fields {
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
	fmt.Fprint(h, "\n")
}

// sumOf is the digest of several sources together.
func sumOf(list []source) string {
	if len(list) == 1 {
		return list[0].sum
	}
	sums := make([]string, len(list))
	for i, s := range list {
		sums[i] = s.sum
	}
	h := sha256.Sum256([]byte(strings.Join(sums, ",")))
	return "multi:" + hex.EncodeToString(h[:])
}
