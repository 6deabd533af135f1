// Package exec has the routes of further processes in a container.
package exec
