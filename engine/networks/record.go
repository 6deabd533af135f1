package networks

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// Record is a network as it is kept on disk.
type Record struct {
	network.Network
	// Device is its bridge, or what its containers' devices sit on. Given says that somebody else made it.
	Device string           `json:",omitempty"`
	Given  bool             `json:",omitempty"`
	MAC    net.HardwareAddr `json:",omitempty"`
}

// known is a network that there is.
type known struct {
	Record
	bridge bridgeOptions
}

const suffix = ".json"

// readRecords are in the order of their making.
func readRecords(dir string) ([]Record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Record
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r Record
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Record) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// write puts a record on the disk, whole or not at all.
func (s *Service) write(r *Record) error {
	return writeJSON(filepath.Join(s.o.Dir, r.ID+suffix), r, true)
}

// forget takes it away.
func (s *Service) forget(id string) error {
	if err := os.Remove(filepath.Join(s.o.Dir, id+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(s.o.Dir)
}

// writeJSON writes a file beside and renames it; forced says that it must outlive a loss of power.
func writeJSON(path string, v any, forced bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp := filepath.Join(dir, "."+filepath.Base(path))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && forced {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil || !forced {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
