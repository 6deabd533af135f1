// Package idmap is whose ids on the host the ids in a container are: the ranges of a user for all containers, or a range
// of its own for each, and mounts that show files accordingly.
package idmap
