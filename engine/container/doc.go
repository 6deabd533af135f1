// Package container keeps the records of containers: one file for each, written so that a crash leaves the old or the
// new one, and an index by id, prefix and name. A record that was read is a snapshot; it never changes.
package container
