// Package authz asks plugins whether a request may be served, and whether its answer may be sent. Whatever goes wrong on
// the way is a no.
package authz
