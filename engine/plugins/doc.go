// Package plugins finds programs that extend the engine, and calls them: JSON over HTTP, on a socket or at an address
// that a file of the administrator names.
package plugins
