// Package rootfs is a container's snapshot: made from an image, mounted for the engine's own look, compared with its
// image, removed.
package rootfs
