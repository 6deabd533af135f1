package main

import (
	"log/slog"
	"net"
	"os"
)

// notify tells systemd, if it has started the daemon as a service that does so, what it is about to do: see
// sd_notify(3). A daemon that cannot say so goes on.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET") // a path, or an abstract name that begins with @
	if path == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(state))
		c.Close()
	}
	if err != nil {
		slog.Warn("systemd is not told", "state", state, "error", err)
	}
}
