// Package volumes keeps named places for data: the local driver, its options, who uses what, prune.
package volumes
