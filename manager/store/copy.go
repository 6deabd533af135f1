package store

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/manager/store/boltfile"
)

// copyLimit is the size in bytes from which a database is not copied: that would take long.
const copyLimit = 256 << 20

// keepCopy refreshes the last good copy of a file that is whole, and locked. Without one the file works as well, so
// nothing comes of an error but a word.
func keepCopy(f *os.File, path string, t boltfile.Tree) {
	if t.Used() > copyLimit {
		return
	}
	if good := openGood(path); good != nil {
		defer good.Close()
		if good.Txid == t.Txid && good.Used() == t.Used() {
			return
		}
	}
	if err := writeCopy(path, func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(f, 0, t.Used()))
		return err
	}); err != nil {
		slog.Warn("no copy of the database was made", "file", path, "error", err)
	}
}

// copyEvery is how old the copy of the metadata database becomes before the next collection renews it.
const copyEvery = 10 * time.Minute

// copies renews the last good copy of a database that is in use.
type copies struct {
	db   *bolt.DB
	last time.Time
	txid int // of the copy
}

// renew makes a copy when the last one is old, and something has changed. Writers don't wait for it.
func (c *copies) renew() {
	if time.Since(c.last) < copyEvery {
		return
	}
	c.last = time.Now()
	err := c.db.View(func(tx *bolt.Tx) error {
		if tx.ID() == c.txid || tx.Size() > copyLimit {
			return nil
		}
		if err := writeCopy(c.db.Path(), func(w io.Writer) error { _, err := tx.WriteTo(w); return err }); err != nil {
			return err
		}
		c.txid = tx.ID()
		return nil
	})
	if err != nil {
		slog.Warn("no copy of the database was made", "file", c.db.Path(), "error", err)
	}
}

// writeCopy replaces the last good copy of a database.
func writeCopy(path string, write func(io.Writer) error) error {
	fresh := path + ".copy"
	out, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(write(out), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(fresh, path+lastGood)
	}
	if err != nil {
		os.Remove(fresh)
	}
	return err
}
