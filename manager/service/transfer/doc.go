// Package transfer is the manager's face of containerd's Transfer service: requests in, errors with their gRPC code out.
package transfer
