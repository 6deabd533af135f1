// Package takeover_test puts our manager in the place of a containerd that has been at work: on the same directories and
// sockets, under live containers and, in one test, under a live dockerd. Then it gives all back to containerd.
package takeover_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
)

// TestMain gives the tests a /run of their own, where old shims have their sockets and states whatever they are told.
func TestMain(m *testing.M) {
	flag.Parse()
	// They wait more than they compute, but for slow machines.
	if os.Getenv("GANTRY_TEST_SLOW") == "" {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
