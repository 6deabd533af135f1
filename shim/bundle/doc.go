// Package bundle is the folder that the daemon makes for a container: what it puts there for the shim, and what the
// shim leaves there for itself, for its delete action and for the daemon.
package bundle
