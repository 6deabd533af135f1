package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/store/boltfile"
)

// lastGood is what the name of a database gets for the copy of it that was whole when it was last opened or copied.
const lastGood = ".last-good"

// rescueMark is what its name gets for a file that is there from a repair until the other stores agree with it: a fall
// in between must not make what had lost its record look like a leftover.
const rescueMark = ".rescue"

// ensureWhole checks a database file before bbolt sees it, and rewrites it where it is damaged: from the transaction
// before the last if that one is whole, otherwise from what can be read of both and of the last good copy. The damaged
// file stays beside it. What was done is logged. Records may be missing from a file that was damaged; it counts as such
// until rescued is called.
func ensureWhole(ctx context.Context, path string, wait time.Duration) (damaged bool, err error) {
	if _, err := os.Stat(path + rescueMark); err == nil {
		damaged = true
	}
	again, err := checkFile(ctx, path, wait)
	return damaged || again, err
}

// rescued notes that what the repair left to do is done.
func rescued(path string) { os.Remove(path + rescueMark) }

func checkFile(ctx context.Context, path string, wait time.Duration) (damaged bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return restoreMissing(ctx, path)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := lockFile(ctx, f, wait); err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	if st.Size() == 0 {
		return restoreMissing(ctx, path)
	}
	trees, err := boltfile.Trees(f, st.Size())
	var problems []boltfile.Problem
	if err == nil {
		if problems = trees[0].Check(); len(problems) == 0 {
			keepCopy(f, path, trees[0])
			return false, nil
		}
	}
	return rebuild(ctx, path, trees, problems)
}

// restoreMissing brings a database back that is gone, or empty, although there was one.
func restoreMissing(ctx context.Context, path string) (damaged bool, err error) {
	if _, err := os.Stat(path + lastGood); err != nil {
		return false, nil //nolint:nilerr // there was none: it is new
	}
	return rebuild(ctx, path, nil, nil)
}

// lockFile takes bbolt's lock, for which another manager may have to end first; wait 0 is as long as it takes.
func lockFile(ctx context.Context, f *os.File, wait time.Duration) error {
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	for again := time.NewTicker(50 * time.Millisecond); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			again.Stop()
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
}

// rebuild writes the file anew from its trees and the last good copy.
func rebuild(ctx context.Context, path string, trees []boltfile.Tree, problems []boltfile.Problem) (damaged bool, err error) {
	said := []any{"file", path, "problems", describe(problems)}
	if len(trees) == 0 {
		said = []any{"file", path, "problems", "the file is missing, empty, or has no valid meta page"}
	}
	wholeTree := slices.IndexFunc(trees, func(t boltfile.Tree) bool { return len(t.Check()) == 0 })
	if wholeTree >= 0 {
		trees = trees[wholeTree : wholeTree+1]
		said = append(said, "from", "the transaction before the last", "transaction", trees[0].Txid)
	} else if good := openGood(path); good != nil {
		defer good.Close()
		trees = append(trees, good.Tree)
		said = append(said, "copyOfTransaction", good.Txid)
	}
	fresh := path + ".repair"
	if err := writeAnew(fresh, trees); err != nil {
		os.Remove(fresh)
		return false, fmt.Errorf("repair of %s: %w", path, err)
	}
	aside, err := setAside(path)
	if err == nil {
		err = os.WriteFile(path+rescueMark, nil, 0o600)
	}
	if err == nil {
		err = os.Rename(fresh, path) // the directory is synced below: the mark cannot come later than the file
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(fresh)
		return false, fmt.Errorf("repair of %s: %w", path, err)
	}
	slog.ErrorContext(ctx, "database was damaged and has been rewritten", append(said, "damagedFile", aside)...)
	return true, nil
}

func describe(problems []boltfile.Problem) string {
	const enough = 5
	text := ""
	for i, p := range problems {
		if i == enough {
			return fmt.Sprintf("%s; and %d more", text, len(problems)-enough)
		}
		if i > 0 {
			text += "; "
		}
		text += p.Error()
	}
	return text
}

// goodCopy is the last good copy, opened.
type goodCopy struct {
	boltfile.Tree
	*os.File
}

// openGood opens the last good copy; nil where there is none that can be read.
func openGood(path string) *goodCopy {
	f, err := os.Open(path + lastGood)
	if err != nil {
		return nil
	}
	if st, err := f.Stat(); err == nil {
		if trees, err := boltfile.Trees(f, st.Size()); err == nil {
			return &goodCopy{trees[0], f}
		}
	}
	f.Close()
	return nil
}

// setAside gives the damaged file a second name, with the time in it, which it keeps. "" where there is no file.
func setAside(path string) (string, error) {
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000")
	err := os.Link(path, aside)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return aside, err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeAnew makes a database of what the trees hold; where they differ, the first one is right.
func writeAnew(path string, trees []boltfile.Tree) error {
	os.Remove(path)
	db, err := bolt.Open(path, 0o644, &bolt.Options{NoFreelistSync: true, NoStatistics: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	for _, t := range trees {
		err = db.Update(func(tx *bolt.Tx) error {
			_, err := t.Walk(&filler{tx: tx})
			return err
		})
		if err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

// filler puts into a database what it does not have yet.
type filler struct {
	tx    *bolt.Tx
	stack []*bolt.Bucket // the buckets of the path; nil for one that could not be made
}

func (f *filler) parent(path [][]byte) *bolt.Bucket {
	if len(path) == 0 || len(path) > len(f.stack) {
		return nil
	}
	return f.stack[len(path)-1]
}

// Bucket makes one, unless it is there.
func (f *filler) Bucket(path [][]byte, name []byte, sequence uint64) error {
	f.stack = f.stack[:len(path)]
	var b *bolt.Bucket
	if in := f.parent(path); in != nil {
		b, _ = in.CreateBucketIfNotExists(name) // nil where the newer tree has a value of that name
	} else if len(path) == 0 {
		b, _ = f.tx.CreateBucketIfNotExists(name)
	}
	f.stack = append(f.stack, b)
	if b == nil || b.Sequence() >= sequence {
		return nil
	}
	return b.SetSequence(sequence)
}

// Value puts one, unless there is one of that name.
func (f *filler) Value(path [][]byte, key, value []byte) error {
	b := f.parent(path)
	if b == nil || b.Get(key) != nil || b.Bucket(key) != nil || len(key) > bolt.MaxKeySize {
		return nil
	}
	return b.Put(key, bytes.Clone(value)) // bbolt keeps the value until the transaction ends; the walk does not
}
