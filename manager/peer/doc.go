// Package peer tells which process is at the other end of a client's connection.
package peer
