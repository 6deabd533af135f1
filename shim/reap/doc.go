// Package reap waits for processes: one pidfd each, so that no exit can be lost in a queue or taken for that of
// another process with the same number (pidfd_open(2), waitid(2)).
package reap
