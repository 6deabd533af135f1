// Package networks has the routes of networks.
package networks
