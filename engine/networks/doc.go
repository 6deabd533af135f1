// Package networks keeps the networks and gives containers their places in them: none, host, another container's, the
// default bridge, and those that users make.
package networks
