package harness

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// KernelBefore reports whether the machine's kernel is older than that: for what tests want
// to be refused, or to see otherwise, there.
func KernelBefore(t testing.TB, major, minor int) bool {
	t.Helper()
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		t.Fatal(err)
	}
	var v host.Version
	if _, err := fmt.Sscanf(unix.ByteSliceToString(uname.Release[:]), "%d.%d", &v.Major, &v.Minor); err != nil {
		t.Fatal(err)
	}
	return !v.AtLeast(major, minor)
}

// NeedKernel skips the test where the machine's kernel is older than that.
func NeedKernel(t testing.TB, major, minor int) {
	t.Helper()
	if KernelBefore(t, major, minor) {
		t.Skipf("needs Linux %d.%d", major, minor)
	}
}
