// Package names makes ids and names for containers.
package names
