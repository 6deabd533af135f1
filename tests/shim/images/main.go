// Command images is a registry on the loopback that holds the images which containerd's client suite pulls, made of a
// static busybox, for as long as a command runs:
//
//	images -listen 127.0.0.1:5617 COMMAND [ARG...]
//
// Each role in the suite has a repository and a layer of its own, because tests delete their images and look for what
// remains. $BUSYBOX_BY_DIGEST tells the command the one name that is not known before.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5617", "`address` to serve on")
	flag.Parse()
	err := run(*listen, flag.Args())
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ProcessState.Exited() {
		os.Exit(exit.ExitCode()) // the command has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(address string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("no command given")
	}
	registry, err := makeImages()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: registry, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until this program ends
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), fmt.Sprintf("BUSYBOX_BY_DIGEST=%s/%s@%s", address, busyboxRepo, registry.tags[busyboxRepo]["1.36"]))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
