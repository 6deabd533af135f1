// Package views makes the pictures of containers that clients see: list entries and inspect, by API version.
package views
