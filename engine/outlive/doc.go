// Package outlive is what the processes that outlive the engine have in common: how they are started, found, asked and
// replaced by another build of themselves.
package outlive
