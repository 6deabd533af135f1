package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many links of a path are followed, as many as moby does.
const maxLinks = 255

// Follow says where a path leads, as far as links on the way are not broken; what is missing is taken as it is written.
// It works inside a view.
func Follow(path string) (string, error) {
	done, rest, links := "/", strings.TrimPrefix(filepath.Clean("/"+path), "/"), 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if name == "" || name == "." {
			continue
		}
		next := filepath.Join(done, name) // ".." goes up here, and never above the root.
		target, err := os.Readlink(next)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			done = next
			continue
		case err != nil:
			return "", err
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "readlink", Path: path, Err: syscall.ELOOP}
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		rest = strings.TrimSuffix(target, "/") + "/" + rest
	}
	return done, nil
}
