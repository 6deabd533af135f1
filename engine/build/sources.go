package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// source is one thing that COPY or ADD copies.
type source struct {
	tree *tree
	// path in the tree, without a slash in front.
	path string
	// sum is its digest.
	sum string
	// remote says that it was downloaded: it is not unpacked.
	remote bool
}

// copying is a COPY or ADD.
type copying struct {
	*stage
	name string
	// from is where sources are; nil when there is no context. fromImage says that it is not the context.
	from      *tree
	fromImage bool
	// download gets sources by URL; nil when the instruction takes none.
	download func(ctx context.Context, address, dest string) (source, error)
	// trees are closed when the instruction is done.
	trees []*tree
}

func (c *copying) close() {
	for _, t := range c.trees {
		t.close()
	}
}

// find finds all sources of an instruction.
func (c *copying) find(ctx context.Context, names []string, dest string) (list []source, err error) {
	for _, name := range names {
		var more []source
		if isURL(name) {
			if c.download == nil {
				return nil, errors.New("source can't be a URL for COPY")
			}
			var s source
			s, err = c.download(ctx, name, dest)
			more = []source{s}
		} else {
			more, err = c.local(name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	if len(list) == 0 {
		return nil, errors.New("no source files were specified")
	}
	return list, nil
}

// local finds what a name or a pattern means.
func (c *copying) local(name string) ([]source, error) {
	if c.from == nil {
		return nil, errors.New("missing build context")
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "/"), "./")
	if !hasPattern(name) {
		s, err := c.one(name)
		return []source{s}, err
	}
	matches, err := c.from.glob(name)
	if err != nil {
		return nil, err
	}
	list := make([]source, len(matches))
	for i, m := range matches {
		if list[i], err = c.one(m); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (c *copying) one(name string) (source, error) {
	if _, err := c.from.stat(name); err != nil {
		if !c.fromImage && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("file not found in build context or excluded by .dockerignore: %w", err)
		}
		return source{}, err
	}
	sum, err := c.from.sum(name)
	return source{tree: c.from, path: name, sum: sum}, err
}

// hasPattern says that a name has something in it that stands for other characters.
func hasPattern(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// glob is the paths of a tree that match a pattern, in order. A pattern that is none matches nothing.
func (t *tree) glob(pattern string) (list []string, err error) {
	err = t.view.Run(func() error {
		return filepath.WalkDir("/", func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel := strings.TrimPrefix(p, "/")
			if ok, _ := filepath.Match(pattern, rel); ok && rel != "" {
				list = append(list, rel)
			}
			return nil
		})
	})
	return list, err
}

// unnamed is the name of a download for which nothing tells one.
const unnamed = "__unnamed__"

// fetch downloads a source of ADD.
func (c *copying) fetch(ctx context.Context, address, dest string) (source, error) {
	u, err := url.Parse(address)
	if err != nil {
		return source{}, err
	}
	r, err := get(ctx, address)
	if err != nil {
		return source{}, err
	}
	defer r.Body.Close()
	name := fileName(u, r)
	if name == "" {
		if strings.HasSuffix(dest, "/") {
			return source{}, fmt.Errorf("cannot determine filename for source %s", address)
		}
		name = unnamed
	}
	dir, err := os.MkdirTemp(c.dir, "download")
	if err != nil {
		return source{}, err
	}
	if err := c.save(filepath.Join(dir, name), r); err != nil {
		return source{}, err
	}
	t, err := openFolder(dir)
	if err != nil {
		return source{}, err
	}
	t.release = func() { os.RemoveAll(dir) }
	c.trees = append(c.trees, t)
	sum, err := t.sum(name)
	return source{tree: t, path: name, sum: sum, remote: true}, err
}

// save writes a download. Its time is the one that the server tells.
func (c *copying) save(path string, r *http.Response) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	in := &downloading{Reader: r.Body, out: c.out.Writer, step: "Downloading", total: max(r.ContentLength, 0)}
	_, err = io.Copy(f, in)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	c.out.say("\n")
	modified, err := http.ParseTime(r.Header.Get("Last-Modified"))
	if err != nil {
		modified = time.Unix(0, 0)
	}
	return os.Chtimes(path, modified, modified)
}
