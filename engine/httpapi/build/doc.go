// Package build has the routes of the classic builder, and of its cache.
package build
