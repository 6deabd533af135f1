// Command sockets tells which kinds of sockets it may open.
package main

import (
	"fmt"
	"syscall"
)

func main() {
	for _, s := range []struct {
		name         string
		family, kind int
	}{{"unix", syscall.AF_UNIX, syscall.SOCK_STREAM}, {"alg", 38, syscall.SOCK_SEQPACKET}, {"vsock", 40, syscall.SOCK_STREAM}} {
		fd, err := syscall.Socket(s.family, s.kind, 0)
		switch err {
		case nil:
			_ = syscall.Close(fd)
			fmt.Println(s.name, "ok")
		case syscall.EPERM:
			fmt.Println(s.name, "refused")
		default:
			fmt.Println(s.name, err)
		}
	}
}
