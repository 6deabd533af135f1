package main

import (
	"errors"
	"io"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

func (p *program) updateCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "JSON `FILE` (- is stdin) with an object linux.resources; what it leaves out stays. The flags below are then ignored, but for the last two"},
	}
	for _, l := range limitFlags() {
		flags = append(flags, &cli.StringFlag{Name: l.name, Usage: l.usage})
	}
	return &cli.Command{
		Name:      "update",
		Usage:     "change the limits of a container",
		ArgsUsage: "CONTAINER",
		Description: `All of the changes are made or, if one is refused, none. Sizes are bytes, or have a
suffix (50M); -1 is no limit. Device rules, if the file has any, replace all earlier ones.`,
		HideHelpCommand: true,
		Flags: append(flags,
			&cli.StringFlag{Name: "kernel-memory", Hidden: true},
			&cli.StringFlag{Name: "kernel-memory-tcp", Hidden: true},
			&cli.StringFlag{Name: "l3-cache-schema", Usage: "Intel RDT cache `SCHEMA`, L3:ID=MASK;…"},
			&cli.StringFlag{Name: "mem-bw-schema", Usage: "Intel RDT memory bandwidth `SCHEMA`, MB:ID=PERCENT;…"},
		),
		Action: p.update,
	}
}

func (p *program) update(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	p.runtime.Warn = p.log.warning
	options := &libcontainer.UpdateOptions{
		ID: c.Args().First(), L3CacheSchema: c.String("l3-cache-schema"), MemBwSchema: c.String("mem-bw-schema"),
	}
	// A wrong id is the more useful thing to say than a wrong value.
	_, err := p.runtime.State(options.ID)
	if err != nil {
		return err
	}
	file := c.String("resources")
	if file != "" {
		options.Resources, err = readResources(file)
	} else {
		options.Resources, err = flagResources(c)
	}
	if err != nil {
		return err
	}
	err = p.runtime.Update(options)
	if file == "" {
		err = nameFlags(err)
	}
	return err
}

// readResources reads the JSON that engines send.
func readResources(file string) (*specs.LinuxResources, error) {
	in := os.Stdin
	if file != "-" {
		var err error
		if in, err = os.Open(file); err != nil {
			return nil, fault.At("--resources", err)
		}
		defer in.Close()
	}
	raw, err := io.ReadAll(io.LimitReader(in, bundle.MaxConfigSize))
	if err != nil {
		return nil, fault.At("--resources", err)
	}
	resources, err := bundle.DecodeResources(raw)
	if err != nil {
		return nil, fault.At("--resources", err)
	}
	return resources, nil
}

// flagResources is the object that the flags stand for.
func flagResources(c *cli.Context) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{},
	}
	for _, l := range limitFlags() {
		value := c.String(l.name)
		if value == "" {
			continue
		}
		if err := l.set(r, value); err != nil {
			return nil, fault.Usage.Atf("--"+l.name, "invalid value %q: %w", value, err)
		}
	}
	if c.String("kernel-memory")+c.String("kernel-memory-tcp") != "" {
		r.Memory.KernelTCP = new(int64) // for the warning
	}
	return r, nil
}

// nameFlags puts flags in the place of the fields of config.json that they stand for.
func nameFlags(err error) error {
	if invalid, ok := errors.AsType[*validate.Error](err); ok {
		renamed := &validate.Error{Problems: slices.Clone(invalid.Problems)}
		for i := range renamed.Problems {
			renamed.Problems[i].Path = flagOf(renamed.Problems[i].Path)
		}
		return renamed
	}
	if refused, ok := errors.AsType[*libcontainer.UpdateError](err); ok {
		refused.Field = flagOf(refused.Field)
	}
	return err
}

func flagOf(field string) string {
	switch field {
	case "linux.intelRdt.l3CacheSchema":
		return "--l3-cache-schema"
	case "linux.intelRdt.memBwSchema":
		return "--mem-bw-schema"
	}
	for _, l := range limitFlags() {
		if "linux.resources."+l.field == field {
			return "--" + l.name
		}
	}
	return field
}
