//go:build amd64 || arm64 || riscv64

// Package nofile remembers RLIMIT_NOFILE as the process inherited it.
//
// Package syscall's init raises the soft limit to the hard one (golang.org/issue/46279),
// and a container started by a raw fork would get the raised limit. This package
// imports nothing, so Go initialises it before syscall: the order is that of import
// paths among the packages whose own imports are ready (Go specification, "Program
// initialization").
package nofile

// limit has the layout of the kernel's struct rlimit64, prlimit(2).
type limit struct{ soft, hard uint64 }

var (
	inherited limit
	errno     = prlimit(&inherited)
)

// prlimit stores this process' RLIMIT_NOFILE in l and returns 0 or a negative errno.
//
//go:noescape
func prlimit(l *limit) int

// Inherited returns the soft and hard limit that the process was started with. It is
// false where the kernel refused to tell, as a seccomp filter may do.
func Inherited() (soft, hard uint64, ok bool) {
	return inherited.soft, inherited.hard, errno == 0
}
