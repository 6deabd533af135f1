//go:build !linux

package host

import "errors"

// Probe tells that containers need Linux.
func Probe() (*Facts, error) {
	return nil, errors.New("host facts can be probed on Linux only")
}

// ProbeSelf tells the same.
func ProbeSelf() (*Facts, error) { return Probe() }

// ProbeLSM finds no security module of Linux.
func ProbeLSM() LSM { return LSM{} }
