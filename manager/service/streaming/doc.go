// Package streaming is the manager's face of containerd's Streaming service: requests in, errors with their gRPC code out.
package streaming
