// Package survive_test replaces the engine and its manager by other builds, again and again, while connections are made to a
// published port, names are looked up, a container writes and a process of `docker exec` is talked to: nobody notices.
// GANTRY_SURVIVE is how many times, 3 if it is not set.
package survive_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
)

// TestMain gives the test a /run of its own, where shims and network namespaces have their places.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
