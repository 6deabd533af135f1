// Package child runs a daemon that belongs to this engine and outlives it when it is killed: the next engine finds it by
// its pidfile and its socket, and goes on with it.
package child
