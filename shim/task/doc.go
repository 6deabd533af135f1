// Package task is containerd's task service: the containers of one shim, from Create to Delete. Versions 2 and 3 of
// the service differ in nothing but their names, so the same methods serve both.
//
// A container is made in create.go and ends in delete.go; between them its processes, the init process and those of
// Exec, are started (start.go) and watched (exit.go). Whatever clients must be told goes to the container's event log
// before the answer that depends on it. Two rules hold the order that containerd promises:
//
//   - a process's exit is told after its start, however fast it is;
//   - the init process's exit is told after those of all others.
//
// Runtimes may take long, or hang. So no lock that State, Kill or Wait needs is held while one runs: operations that
// exclude each other take the container's turn, which a caller stops waiting for with its context.
package task
