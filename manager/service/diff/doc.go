// Package diff is the manager's face of containerd's Diff service: requests in, errors with their gRPC code out.
package diff
