// Package ttrpc speaks containerd's RPC protocol for small processes: unary calls, on a unix socket.
// Streams are refused. The protocol: github.com/containerd/ttrpc, PROTOCOL.md; why not that module:
// docs/decisions/0029.
package ttrpc
