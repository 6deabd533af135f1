package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// setName makes ps(1) show the module and not the copy of this program.
func setName(name string) error {
	return os.WriteFile("/proc/self/comm", []byte(name), 0)
}

// endOnSignals ends the module by signals that would end a process. The first process of a
// pid namespace is spared the default action, pid_namespaces(7), and a module can catch none.
func endOnSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	go func() {
		if s, ok := (<-signals).(unix.Signal); ok {
			os.Exit(128 + int(s))
		}
	}()
}
