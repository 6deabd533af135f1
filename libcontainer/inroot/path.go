// Package inroot opens paths that a container's image or config names: untrusted
// paths, to be resolved inside the container's root as the container would, whoever
// exchanges what for a link meanwhile. The result is always a descriptor; nothing may
// use the path's text again.
package inroot

// Path is a path as the container sees it. It is never a path of the host, and the type
// keeps the two apart.
type Path string
