// Package content is the manager's face of containerd's Content service: requests in, errors with their gRPC code out.
package content
