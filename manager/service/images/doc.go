// Package images is the manager's face of containerd's Images service: requests in, errors with their gRPC code out.
package images
