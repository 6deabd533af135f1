// Package mounts decides what a container sees beside its root: binds, volumes, tmpfs, other containers' volumes and
// images; and fills empty volumes from the image.
package mounts
