// Package bootstrap is how a daemon and a shim find each other: what the daemon says to `start`, in the three ways
// that containerd 1.6 to 2.4 say it, what they read as the answer, and the socket.
package bootstrap
