// Package archive packs and unpacks paths inside a container's root for docker cp, which never leave that root.
package archive
