package store

import (
	"fmt"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/manager/config"
)

// boltOptions are containerd's: no freelist on disk, which is one thing less to be damaged and one page less to write.
// Unlike containerd we count pages: how many are free is asked on a full disk.
func boltOptions(c config.Metadata, wait time.Duration) *bolt.Options {
	options := *bolt.DefaultOptions
	options.NoFreelistSync = true
	options.Timeout = wait // 0: as long as it takes
	if c.NoSync {
		options.NoSync = true
		options.NoGrowSync = true
	}
	return &options
}

// openBolt opens a file that ensureWhole has passed. bbolt panics, or faults in its mapping, on what it does not
// expect; should it still, that is an error.
func openBolt(path string, options *bolt.Options) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open %s: bbolt panicked: %v", path, r)
		}
	}()
	db, err = bolt.Open(path, 0o644, options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}
