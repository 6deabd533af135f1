// Package pause is the program of the process that holds a pod's namespaces: it waits for SIGTERM or SIGINT, and as
// process 1 of the pod's pid namespace it reaps orphans. It is fifty instructions of machine code, an assembler file
// for each architecture, because it runs once for each pod: a Go program that does the same keeps half a megabyte
// and five threads, this one three pages. It also keeps the shim's binary out of the pod, where a privileged container
// could write to /proc/1/exe.
package pause
