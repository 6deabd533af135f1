// Package faults_test kills the engine, its manager and its keeper, and gives the engine what it cannot serve.
package faults_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
)

// TestMain gives the tests a /run of their own, where shims and network namespaces have their places.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
