// Package registry has the routes that talk to registries: pull, push, search, distribution, auth.
package registry
