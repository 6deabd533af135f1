package main

import (
	"errors"
	"fmt"
	"path/filepath"
)

// memoryTries is how often `run true` must work under a limit before the limit counts as enough.
const memoryTries = 5

// memorySizes are the limits to try, in KiB.
var memorySizes = []int64{96, 112, 128, 144, 192, 256, 384, 512, 1 << 10, 2 << 10, 3 << 10, 4 << 10}

// memoryLimits prints for every side how many of the tries worked under each limit, and the smallest limit from which
// on all did. memory.limit and memory.swap are the same, so nothing is swapped out.
func (b *bench) memoryLimits() error {
	fmt.Printf("\nruns of true that work under a memory limit, of %d:\n%-12s", memoryTries, "KiB")
	for _, size := range memorySizes {
		fmt.Printf(" %5d", size)
	}
	fmt.Println("  smallest")
	for _, s := range append([]side{b.opts.ours}, b.opts.peers...) {
		fmt.Printf("%-12s", s.name)
		smallest := int64(0)
		for _, size := range memorySizes {
			works, err := b.memoryLimit(s, size)
			if err != nil {
				return err
			}
			fmt.Printf(" %5d", works)
			switch {
			case works < memoryTries:
				smallest = 0
			case smallest == 0:
				smallest = size
			}
		}
		if smallest == 0 {
			fmt.Println("  none")
		} else {
			fmt.Printf("  %d KiB\n", smallest)
		}
	}
	return nil
}

// memoryLimit counts the tries that work. A failed try is deleted by force, as it may have been killed anywhere.
func (b *bench) memoryLimit(s side, size int64) (int, error) {
	bundle := b.bundle(fmt.Sprintf("memory-%d", size))
	if err := makeBundle(bundle, filepath.Join(b.dir, "rootfs"), []string{"true"}, memoryChange(size<<10)); err != nil {
		return 0, err
	}
	works := 0
	for range memoryTries {
		id := b.newID()
		err := b.call(s, "run", "--bundle", bundle, id)
		switch {
		case err == nil:
			works++
		case errors.Is(err, errStopped):
			return 0, err
		default:
			_ = b.call(s, "delete", "--force", id) // most often there is nothing to delete
		}
		b.killAdopted()
		if err := b.meter.drain(); err != nil {
			return 0, err
		}
		if err := removeCgroups(id); err != nil {
			return 0, err
		}
	}
	return works, nil
}
