// Package mounts is the manager's face of containerd's Mounts service: requests in, errors with their gRPC code out.
package mounts
