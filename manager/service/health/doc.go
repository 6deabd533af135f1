// Package health is the manager's face of containerd's health service: requests in, errors with their gRPC code out.
package health
