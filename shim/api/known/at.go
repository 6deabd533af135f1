// Package known holds protobuf's well-known types.
package known

import "time"

// At is a time in the protocol's form; nil for none.
func At(t time.Time) *Timestamp {
	if t.IsZero() {
		return nil
	}
	return New(t)
}
