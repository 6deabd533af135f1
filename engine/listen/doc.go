// Package listen opens the sockets that clients connect to: unix sockets for a group, sockets of systemd, and TCP with
// certificates on both sides.
package listen
