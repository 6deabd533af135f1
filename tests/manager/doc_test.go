// Package manager_test runs our manager as people do: ctr types at it, clients call it, shims fail under it, and it is
// killed. What must come back is said here, or is what the newest containerd says in the same place. GANTRY_MANAGER=upstream puts that containerd in our
// manager's place, to prove a test.
package manager_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
)

// TestMain gives the tests a /run and a network of their own: clients have places there that they can't be told.
func TestMain(m *testing.M) {
	flag.Parse()
	// They wait more than they compute, but for slow machines.
	if os.Getenv("GANTRY_TEST_SLOW") == "" {
		if err := flag.Set("test.parallel", "12"); err != nil {
			panic(err)
		}
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// upstream says that the manager is not ours but containerd, which shows what a test is worth.
func upstream() bool { return compat.Gantry.Upstream() }
