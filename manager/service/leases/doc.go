// Package leases is the manager's face of containerd's Leases service: requests in, errors with their gRPC code out.
package leases
