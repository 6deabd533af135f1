// Package attach has the routes of a container's streams: attach, attach/ws, logs, resize.
package attach
