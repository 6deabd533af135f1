// Package mount mounts a container's root file system as a snapshotter describes it, and unmounts it.
package mount
