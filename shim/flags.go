package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// flags are the command line, as every daemon from containerd 1.6 on writes it, and as start writes it for the
// server.
type flags struct {
	namespace, id string
	address       string // of the daemon's gRPC socket
	publisher     string // the daemon's binary, which once published events; the TTRPC_ADDRESS does now
	bundle        string // the container's folder; the working directory without it
	socket        string // where the server listens, a path
	exit          string // for deliver: how the container ended, JSON
	debug         bool
	version, info bool
	action        string
}

// parse reads the command line. A flag that a later daemon may have is passed over, with its value: without it the
// shim can do what it always did.
func parse(args []string) (flags, error) {
	var f flags
	texts := map[string]*string{
		"namespace": &f.namespace, "id": &f.id, "address": &f.address, "publish-binary": &f.publisher,
		"bundle": &f.bundle, "socket": &f.socket, "exit": &f.exit,
	}
	switches := map[string]*bool{"debug": &f.debug, "v": &f.version, "version": &f.version, "info": &f.info}
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			f.action = args[i]
			break
		}
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		text, isText := texts[name]
		on, isSwitch := switches[name]
		switch {
		case isText && !given:
			if i++; i == len(args) {
				return f, fmt.Errorf("-%s: its value is missing", name)
			}
			*text = args[i]
		case isText:
			*text = value
		case isSwitch && !given:
			*on = true
		case isSwitch:
			b, err := strconv.ParseBool(value)
			if err != nil {
				return f, fmt.Errorf("-%s: %q is not true or false", name, value)
			}
			*on = b
		case !given && valued(args[i+1:]):
			i++
		}
	}
	return f, nil
}

// valued guesses whether what follows an unknown flag is its value: the last argument is the action.
func valued(rest []string) bool { return len(rest) > 1 && !strings.HasPrefix(rest[0], "-") }

func (f *flags) check() error {
	switch {
	case f.namespace == "":
		return errors.New("-namespace: it may not be empty")
	case f.id == "":
		return errors.New("-id: it may not be empty")
	}
	return nil
}
