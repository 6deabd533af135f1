// Package containers is the life of a container: create, start, stop, kill, pause, restart, exit, remove, and what
// became of it while the engine was away.
package containers
