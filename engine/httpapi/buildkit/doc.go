// Package buildkit is how BuildKit's clients reach it through the engine: connections that leave HTTP at /grpc and
// /session, and gRPC on HTTP/2 itself.
package buildkit
