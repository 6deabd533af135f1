// Package containers has the routes that change a container's life: create, start, stop, restart, kill, pause, wait,
// rename, update, remove, prune.
package containers
