// Package snapshots is the manager's face of containerd's Snapshots service: requests in, errors with their gRPC code out.
package snapshots
