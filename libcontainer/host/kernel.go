package host

import (
	"errors"
	"fmt"
)

// ErrKernel is what CheckKernel wraps.
var ErrKernel = errors.New("kernel is too old")

// The oldest kernel that is supported. It has every call that the launch can't do
// without: clone3 with CLONE_INTO_CGROUP (5.7), openat2 (5.6), fsopen and move_mount
// (5.2), close_range (5.9), faccessat2 (5.8).
const floorMajor, floorMinor = 5, 10

// CheckKernel refuses a kernel that is older than 5.10, wrapping ErrKernel.
func (f *Facts) CheckKernel() error {
	if f.Kernel.AtLeast(floorMajor, floorMinor) {
		return nil
	}
	return fmt.Errorf("%w: it is Linux %d.%d, and %d.%d or later is needed",
		ErrKernel, f.Kernel.Major, f.Kernel.Minor, floorMajor, floorMinor)
}

// parseVersion cuts a release such as "6.1.0-18-amd64" to its two first numbers.
func parseVersion(release []byte) (v Version, ok bool) {
	major, rest, ok := leadingNumber(release)
	if !ok || len(rest) == 0 || rest[0] != '.' {
		return Version{}, false
	}
	minor, _, ok := leadingNumber(rest[1:])
	return Version{major, minor}, ok
}

// leadingNumber splits decimal digits off b. It stops before the number would not fit.
func leadingNumber(b []byte) (n int, rest []byte, ok bool) {
	i := 0
	for i < len(b) && i < 9 && b[i] >= '0' && b[i] <= '9' {
		n = n*10 + int(b[i]-'0')
		i++
	}
	return n, b[i:], i > 0
}
