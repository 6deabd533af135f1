// Package events is the manager's face of containerd's Events service: requests in, errors with their gRPC code out.
package events
