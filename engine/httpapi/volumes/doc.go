// Package volumes has the routes of volumes.
package volumes
