// Package archive has the routes of a container's files: archive (docker cp), export, changes.
package archive
