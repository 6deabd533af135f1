package volumes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gantry-containers/gantry/engine/names"
)

const (
	// dataDir has the files of a volume; the name is moby's.
	dataDir = "_data"
	// recordFile has what is known about a volume. It is written last when a volume is made.
	recordFile = "volume.json"
	// aside begins the name of a folder that is being removed; no volume's name begins so.
	aside = ".removing-"
)

// record is what is on disk about a volume.
type record struct {
	Name    string
	Labels  map[string]string `json:",omitempty"`
	Options map[string]string `json:",omitempty"`
	Created time.Time
	// For is the container that an anonymous volume was made for, until that is removed without it.
	For string `json:",omitempty"`
}

// load reads all volumes of a folder, and clears away what a crash left of creates and removes.
func load(dir string) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var records []record
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case !e.IsDir():
			continue
		case strings.HasPrefix(e.Name(), aside):
			if err := os.RemoveAll(path); err != nil {
				return nil, err
			}
			continue
		}
		r, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", e.Name(), err)
		}
		if r != nil {
			records = append(records, *r)
		}
	}
	return records, nil
}

// read reads one volume. A folder without a record is a create that never finished, unless there are files in it: those
// were brought here by somebody, and are a volume of that name.
func read(path string) (*record, error) {
	name := filepath.Base(path)
	// A record that was being written when the engine was killed.
	torn, _ := filepath.Glob(filepath.Join(path, ".record-*"))
	for _, file := range torn {
		if err := os.Remove(file); err != nil {
			return nil, err
		}
	}
	b, err := os.ReadFile(filepath.Join(path, recordFile))
	if err == nil {
		var r record
		if err = json.Unmarshal(b, &r); err == nil && r.Name == name {
			return &r, nil
		}
		// Its data is worth more than its labels.
		slog.Error("the record of a volume cannot be read: it has lost its labels and options", "volume", name, "error", err)
		return found(path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(path, dataDir))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		// Remove fails on what is not empty, and so it should.
		for _, p := range []string{filepath.Join(path, dataDir), path} {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
		}
		return nil, nil
	}
	if err != nil || checkName(name) != nil {
		return nil, err
	}
	return found(path)
}

// found is the record of a folder without one.
func found(path string) (*record, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &record{Name: filepath.Base(path), Created: info.ModTime()}, nil
}

// create makes the folders of a volume and its record, which stay after a power loss.
func create(dir string, r record) (err error) {
	path := filepath.Join(dir, r.Name)
	if err := mkdir(path, 0o701); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}()
	if err := mkdir(filepath.Join(path, dataDir), 0o755); err != nil {
		return err
	}
	if err := write(path, r); err != nil {
		return err
	}
	return syncDir(dir)
}

// write replaces the record in a volume's folder as a whole.
func write(path string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(path, ".record-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(path, recordFile)); err != nil {
		return err
	}
	return syncDir(path)
}

// mkdir makes a folder with exactly a mode.
func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// putAside renames a volume's folder, from which moment on there is no such volume.
func putAside(dir, name string) (string, error) {
	to := filepath.Join(dir, aside+names.ID()[:16])
	err := os.Rename(filepath.Join(dir, name), to)
	if errors.Is(err, fs.ErrNotExist) {
		return to, nil // Somebody removed it by hand.
	}
	return to, errors.Join(err, syncDir(dir))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
