// Package sandboxes is the manager's face of containerd's two sandbox services, the store and the controller: requests
// in, errors with their gRPC code out.
package sandboxes
