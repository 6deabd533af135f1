// Command probe makes system calls that busybox can't, for the whole-system tests: each
// argument is a number, which is called without arguments, and the errno printed.
package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

func main() {
	for _, arg := range os.Args[1:] {
		n, err := strconv.Atoi(arg)
		if err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			os.Exit(2)
		}
		_, _, errno := syscall.Syscall(uintptr(n), 0, 0, 0)
		fmt.Printf("%d: %v\n", n, errno)
	}
}
