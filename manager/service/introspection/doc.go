// Package introspection is the manager's face of containerd's Introspection service: requests in, errors with their gRPC code out.
package introspection
