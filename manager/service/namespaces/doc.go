// Package namespaces is the manager's face of containerd's Namespaces service: requests in, errors with their gRPC code out.
package namespaces
