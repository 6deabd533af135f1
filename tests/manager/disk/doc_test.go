// Package disk_test fills and breaks the disks below our manager while real clients work with it: small file systems of
// its own that have no room left, loss of power under an ext4 of which nothing but what was synced is kept, and databases
// that are damaged. GANTRY_MANAGER=upstream puts containerd in our manager's place, to prove a test.
package disk_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
)

// TestMain gives the tests a /run and a network of their own: clients have places there that they can't be told.
func TestMain(m *testing.M) {
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
