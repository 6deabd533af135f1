// Package version is the manager's face of containerd's Version service: requests in, errors with their gRPC code out.
package version
