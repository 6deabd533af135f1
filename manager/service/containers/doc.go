// Package containers is the manager's face of containerd's Containers service: requests in, errors with their gRPC code out.
package containers
