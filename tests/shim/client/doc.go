// Package client calls a containerd's services as its clients do, by gRPC: with the answer's class, without a process
// for each call, and as early as a daemon takes a call. It knows the part of the API that tests of shims need.
package client
