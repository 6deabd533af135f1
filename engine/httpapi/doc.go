// Package httpapi is the wire: routes, versions, errors as HTTP status, JSON, streams, and connections that are taken
// over. What an endpoint does is in a package below it, one for each resource.
package httpapi
