package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/gantry-containers/gantry/shim/bootstrap"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/sandbox"
)

// maxStdin is as much as start reads, in bytes: what the daemon says is some 300.
const maxStdin = 4 << 20

const ttrpcAddress = "TTRPC_ADDRESS"

// start makes the server of the container in the working directory, or finds that of its group, and prints where it
// listens.
func start(f flags) error {
	stdin, err := io.ReadAll(io.LimitReader(os.Stdin, maxStdin))
	if err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	params, err := bootstrap.Read(bootstrap.Params{
		ID: f.id, Namespace: f.namespace, GRPCAddress: f.address, Debug: f.debug, TTRPCAddress: os.Getenv(ttrpcAddress),
	}, stdin)
	if err != nil {
		return err
	}
	b, err := bundle.Open(f.bundle) // "" is the working directory
	if err != nil {
		return err
	}
	group, err := prepare(b, params)
	if err != nil {
		return err
	}
	params.Sandbox = sandbox.IsBundle(b.Path())
	address := params.Address(group)
	server, err := launch(params, b, address)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(params.Answer(address)); err != nil {
		return errors.Join(err, server.undo())
	}
	return nil
}

// prepare finds the shim's group, and keeps the options: a bundle without config.json is that of a sandbox, and its
// options are told nobody but start. Those of a task are told to Create, too, which refuses bad ones with the right
// class of error.
func prepare(b *bundle.Bundle, p bootstrap.Params) (group string, err error) {
	config, err := b.Config()
	noSpec := errors.Is(err, fs.ErrNotExist)
	if noSpec {
		config, err = &bundle.Config{}, nil
	}
	if err != nil {
		return "", err
	}
	err = b.SetOptions(p.Options)
	if _, bad := errors.AsType[*bundle.OptionsError](err); bad && !noSpec {
		err = nil
	}
	return config.Group(p.ID), err
}
