// Package tasks is the manager's face of containerd's Tasks service: requests in, errors with their gRPC code out.
package tasks
