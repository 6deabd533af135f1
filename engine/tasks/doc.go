// Package tasks runs what a container record says: it is the only package that asks the manager for containers, tasks
// and further processes, and tells how they ended, across restarts of either side.
package tasks
