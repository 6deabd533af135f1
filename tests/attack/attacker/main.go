// Command attacker is what the attack tests put into a container, or around the runtime:
//
//	poll SECONDS REPORT    follow every process's links, so long or until SIGTERM, keep what is found, write to it
//	swap PATH1 PATH2       exchange two names until killed
//	refuse PROGRAM ARG...  run a program for which prctl(PR_SET_MM) is refused
//	noexec PROGRAM ARG...  run a program with vm.memfd_noexec=2, as pid 1 of a pid namespace
//	procfs outside         try to mount a fresh procfs in a new user namespace
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	command := ""
	if len(args) > 1 {
		command, args = args[0], args[1:]
	}
	switch {
	case command == "poll" && len(args) == 2:
		seconds, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return err
		}
		return poll(time.Duration(seconds*float64(time.Second)), args[1])
	case command == "swap" && len(args) == 2:
		for {
			if err := unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE); err != nil {
				return err
			}
		}
	case command == "refuse":
		if err := refusePrctl(); err != nil {
			return err
		}
		return unix.Exec(args[0], args, os.Environ())
	case command == "noexec":
		if err := forbidMemfds(); err != nil {
			return err
		}
		return unix.Exec(args[0], args, os.Environ())
	case command == "procfs":
		return freshProcfs(args[0])
	}
	return fmt.Errorf("unknown command %q", strings.Join(append([]string{command}, args...), " "))
}
