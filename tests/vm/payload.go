package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// job is what the first process reads from the payload disk.
type job struct {
	Init    string
	Command []string
}

// The two first processes.
const (
	initOwn     = "own"
	initSystemd = "systemd"
)

const (
	jobFile    = "/run/gantry-vm.json"
	runJobArg  = "run-job"
	outputPort = "output"
	exitPort   = "exit"
)

// writePayload writes the tar that the machine finds as its second disk.
func (m *machine) writePayload(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	text, err := json.Marshal(job{m.init, m.command})
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: jobFile, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	for _, a := range m.add {
		if err := a.addTo(w); err != nil {
			return fmt.Errorf("--add: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func (a addition) addTo(w *tar.Writer) error {
	from, err := filepath.EvalSymlinks(a.from) //nolint:forbidigo // a developer's own files, not an image's
	if err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode().Type() == fs.ModeSymlink {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		// Inside, everything belongs to root.
		header.Uid, header.Gid = 0, 0
		header.Name = filepath.Join(a.to, path[len(from):])
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// unpack writes the payload into the machine's file system.
func unpack(disk string) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpackEntry(h, r)
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
}

func unpackEntry(h *tar.Header, r io.Reader) error {
	mode := h.FileInfo().Mode()
	if err := os.MkdirAll(filepath.Dir(h.Name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(h.Name, mode.Perm())
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, h.Name)
	case tar.TypeReg:
		f, err := os.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(f, r); err != nil {
			return err
		}
		// Chmod, because of the umask, and for setuid.
		return errors.Join(f.Chmod(mode), f.Close())
	default:
		return fmt.Errorf("%s: neither file, directory nor symlink", h.Name)
	}
}
