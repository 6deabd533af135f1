package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/manager/store/boltfile"
)

// snapshotIDs are the numbers in a snapshotter's database, which are the names of its directories. It reads the file;
// nobody may write meanwhile.
func snapshotIDs(path string) (ids map[string]struct{}, highest uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	trees, err := boltfile.Trees(f, st.Size())
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	v := idVisitor{ids: map[string]struct{}{}}
	problems, err := trees[0].Walk(&v)
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("%s: %w", path, problems[0])
	}
	return v.ids, v.highest, err
}

type idVisitor struct {
	ids     map[string]struct{}
	highest uint64
}

// Bucket does nothing.
func (v *idVisitor) Bucket([][]byte, []byte, uint64) error { return nil }

// Value notes v1/snapshots/NAME/id.
func (v *idVisitor) Value(path [][]byte, key, value []byte) error {
	if len(path) == 3 && string(path[0]) == string(keySchema) && string(path[1]) == string(keySnapshots) && string(key) == string(keyID) {
		id, _ := binary.Uvarint(value)
		v.highest = max(v.highest, id)
		v.ids[strconv.FormatUint(id, 10)] = struct{}{}
	}
	return nil
}

// keepLostDirectories moves directories of snapshots that the snapshotter's database knows no more out of its reach,
// where it would remove them; root is the snapshotter's, whose database is not open.
func keepLostDirectories(ctx context.Context, root string) error {
	path := filepath.Join(root, "metadata.db")
	ids, highest, err := snapshotIDs(path)
	if err != nil {
		return err
	}
	found, err := os.ReadDir(filepath.Join(root, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lost := filepath.Join(root, "lost-"+time.Now().UTC().Format("20060102T150405"))
	for _, d := range found {
		if _, ok := ids[d.Name()]; ok {
			continue
		}
		if _, err := strconv.ParseUint(d.Name(), 10, 64); err != nil {
			continue // a half-made or half-removed one
		}
		if err := os.MkdirAll(lost, 0o700); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(root, "snapshots", d.Name()), filepath.Join(lost, d.Name())); err != nil {
			return err
		}
		slog.ErrorContext(ctx, "a snapshot's directory had lost its record and was put aside", "directory", filepath.Join(lost, d.Name()))
	}
	return countFrom(path, highest)
}

// countFrom sets the counter of a snapshotter's database, should it have been lost, beyond the numbers in use.
func countFrom(path string, highest uint64) error {
	db, err := openBolt(path, &bolt.Options{NoStatistics: true, FreelistType: bolt.FreelistArrayType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if schema := tx.Bucket(keySchema); schema != nil {
			if all := schema.Bucket(keySnapshots); all != nil && all.Sequence() < highest {
				return all.SetSequence(highest)
			}
		}
		return nil
	})
	return errors.Join(err, db.Close())
}

// sweeper removes directories in the background.
type sweeper struct {
	running sync.WaitGroup
	stopped chan struct{}
}

// sweep takes directories that were half made, or half removed, when the manager fell, out of the way at once: one may
// have the number that the next snapshot gets, which could not be made then. They are removed in the background. Nothing
// is served yet.
func (s *sweeper) sweep(root string) error {
	ids, _, err := snapshotIDs(filepath.Join(root, "metadata.db"))
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "snapshots")
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var old []string
	for _, d := range found {
		if _, ok := ids[d.Name()]; ok {
			continue
		}
		// Both snapshotters leave alone, or remove too, what has such a name.
		away := filepath.Join(dir, fmt.Sprintf("rm-gantry-%d-%s", time.Now().UnixNano(), d.Name()))
		if err := os.Rename(filepath.Join(dir, d.Name()), away); err != nil {
			return err
		}
		old = append(old, away)
	}
	s.running.Go(func() {
		for _, path := range old {
			select {
			case <-s.stopped:
				return
			default:
			}
			if err := os.RemoveAll(path); err != nil {
				slog.Warn("a leftover of a snapshot stays", "error", err)
			}
		}
	})
	return nil
}

// stop waits for the directory that is being removed; the next start finds the others.
func (s *sweeper) stop() {
	close(s.stopped)
	s.running.Wait()
}
