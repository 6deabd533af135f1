// Package shim is the manager's end of the shim protocol: it finds the binary of a runtime's name, starts it in the
// way that its generation understands (options from containerd 1.6 to 2.2, parameters since 2.3), keeps a connection
// to each, speaks version 2 or 3 of the task service over it, and finds shims again after a restart.
package shim
