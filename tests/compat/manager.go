package compat

// ManagerConfig is a configuration file for our manager, and for the newest containerd in its place: its sockets are
// DIR/sock and DIR/sock.ttrpc, those of its shims in DIR/s, and everything else is in DIR/root and DIR/state.
func ManagerConfig(dir string) string { return Gantry.config(dir) }
