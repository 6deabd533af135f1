package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	goarchive "github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"

	"github.com/gantry-containers/gantry/engine/archive"
)

// placing copies into a tree.
type placing struct {
	target
	tree *tree
	// owner gets the files, and the folders that are made for them; nil leaves them to whom they belong.
	owner *owner
}

// place copies one source. What it is decides how: a folder's content, an archive's content, or a file.
func (p *placing) place(s source) error {
	info, err := s.tree.stat(s.path)
	if err != nil {
		return fmt.Errorf("source path not found: %w", err)
	}
	dest, isDir, err := p.destination()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return p.folder(s, dest)
	}
	if p.unpack && !s.remote && info.Mode().IsRegular() {
		if done, err := p.archive(s, dest); done || err != nil {
			return err
		}
	}
	if isDir || strings.HasSuffix(p.path, "/") {
		dest = filepath.Join(dest, filepath.Base(s.path))
	}
	return p.file(s, dest)
}

// destination follows links in the tree to where it will be written.
func (p *placing) destination() (dest string, isDir bool, err error) {
	err = p.tree.view.Run(func() error {
		if dest, err = archive.Follow(p.path); err != nil {
			return err
		}
		isDir = isDirHere(dest)
		return nil
	})
	return dest, isDir, err
}

// isDirHere works inside a view, as all that ends so.
func isDirHere(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// folder copies what is in a folder, not the folder.
func (p *placing) folder(s source, dest string) error {
	var from string
	abs, err := inside(s.path)
	if err != nil {
		return err
	}
	err = s.tree.view.Run(func() error {
		from, err = archive.Follow(abs)
		return err
	})
	if err != nil {
		return err
	}
	tb, err := goarchive.NewTarballer(from, &goarchive.TarOptions{Compression: compression.None})
	if err != nil {
		return err
	}
	err = p.tree.view.Run(func() error { return p.makeFolderHere(dest) })
	if err != nil {
		return fmt.Errorf("failed to copy directory: %w", err)
	}
	s.tree.view.Start(tb.Do)
	r := tb.Reader()
	defer r.Close()
	if err := p.tree.unpack(r, dest, p.owner); err != nil {
		return fmt.Errorf("failed to copy directory: %w", err)
	}
	return nil
}

// makeFolderHere makes the folder that files are copied into. Those above it are root's.
func (p *placing) makeFolderHere(dest string) error {
	if isDirHere(dest) {
		return nil
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	if p.owner == nil {
		return nil
	}
	return os.Lchown(dest, p.owner.uid, p.owner.gid)
}

// archive unpacks a source that is an archive, and says no to others. Owners are those that it tells.
func (p *placing) archive(s source, dest string) (bool, error) {
	f, err := s.tree.open(s.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if !isArchive(f) {
		return false, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	plain, err := archive.Decompress(f)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	if err := p.tree.view.Run(func() error { return os.MkdirAll(dest, 0o755) }); err != nil {
		return false, err
	}
	return true, p.tree.unpack(plain, dest, nil)
}

// isArchive says that something is a tar archive, compressed or not.
func isArchive(in io.Reader) bool {
	plain, err := archive.Decompress(in)
	if err != nil {
		return false
	}
	defer plain.Close()
	_, err = tar.NewReader(plain).Next()
	return err == nil
}

// file copies one file, or what else is no folder.
func (p *placing) file(s source, dest string) error {
	header, content, err := s.entry()
	if err != nil {
		return fmt.Errorf("failed to copy file: %w", err)
	}
	defer content.Close()
	if err := p.tree.view.Run(func() error { return p.makeParentsHere(filepath.Dir(dest)) }); err != nil {
		return fmt.Errorf("failed to create new directory: %w", err)
	}
	header.Name = filepath.Base(dest)
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	// The content follows as it is, then what fills the last block, and the end mark.
	tail := make([]byte, (blockSize-header.Size%blockSize)%blockSize+2*blockSize)
	in := io.MultiReader(&head, io.LimitReader(content, header.Size), bytes.NewReader(tail))
	if err := p.tree.unpack(in, filepath.Dir(dest), p.owner); err != nil {
		return fmt.Errorf("failed to copy file: %w", err)
	}
	return nil
}

// blockSize is that of tar.
const blockSize = 512

// makeParentsHere makes folders that are missing, which belong to the owner of what is copied.
func (p *placing) makeParentsHere(dir string) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o755) // It says what is wrong when it is no folder.
	}
	if err := p.makeParentsHere(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if p.owner == nil {
		return nil
	}
	return os.Lchown(dir, p.owner.uid, p.owner.gid)
}

// entry is a source as an entry of an archive, with its content.
func (s source) entry() (header *tar.Header, content io.ReadCloser, err error) {
	abs, err := inside(s.path)
	if err != nil {
		return nil, nil, err
	}
	err = s.tree.view.Run(func() error {
		found, err := archive.Follow(abs)
		if err != nil {
			return err
		}
		info, err := os.Lstat(found)
		if err != nil {
			return err
		}
		if header, err = goarchive.FileInfoHeader(found, info, ""); err != nil {
			return err
		}
		content = io.NopCloser(bytes.NewReader(nil))
		if info.Mode().IsRegular() {
			if content, err = openHere(found); err != nil {
				return err
			}
		}
		return goarchive.ReadSecurityXattrToTarHeader(found, header)
	})
	if err != nil {
		return nil, nil, err
	}
	header.Format = tar.FormatPAX
	header.ModTime = header.ModTime.Truncate(time.Second)
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	return header, content, nil
}
