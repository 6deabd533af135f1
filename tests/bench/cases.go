package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/gantry-containers/gantry/tests/bench/report"
)

const memoryCase = "memory"

// caseNames are the cases in the order in which they run.
var caseNames = []string{"run", "seccomp", "exec", "lifecycle", memoryCase}

// warmups are pairs that run before the counted ones: they fill caches, a runtime's own seccomp cache among them.
const warmups = 2

// compare measures one case against one peer and prints a line.
func (b *bench) compare(name string, peer side) error {
	sides := [2]side{b.opts.ours, peer}
	var operations [2]func() error
	for i, s := range sides {
		operation, end, err := b.operation(name, s)
		if end != nil {
			defer end()
		}
		if err != nil {
			return err
		}
		operations[i] = operation
	}
	var cpu, wall [2][]float64
	for n := range warmups + b.opts.pairs {
		var costs [2]cost
		for turn := range 2 {
			i := (n + turn) % 2 // the side that begins alternates
			if err := operations[i](); err != nil {
				return err
			}
			costs[i] = b.meter.take()
		}
		if n < warmups {
			continue
		}
		for i, c := range costs {
			cpu[i] = append(cpu[i], float64(c.cpu)/float64(time.Millisecond))
			wall[i] = append(wall[i], float64(c.wall)/float64(time.Millisecond))
		}
	}
	fmt.Printf("%-10s %-10s %s   %s\n", name, peer.name, report.Columns(cpu), report.Columns(wall))
	return nil
}

// operation prepares a case on one side. It returns the work of one turn, and what ends the preparation.
func (b *bench) operation(name string, s side) (turn func() error, end func(), err error) {
	switch name {
	case "run":
		return func() error { return b.runTrue(s, b.bundle("true")) }, nil, nil
	case "seccomp":
		return func() error { return b.runTrue(s, b.bundle("seccomp")) }, nil, nil
	case "lifecycle":
		return func() error { return b.lifecycle(s) }, nil, nil
	}
	id := b.newID()
	pidFile := filepath.Join(b.dir, id+".pid")
	err = b.call(s, "run", "--detach", "--bundle", b.bundle("sleep"), "--pid-file", pidFile, id)
	if err != nil {
		return nil, nil, err
	}
	pid, err := readPid(pidFile)
	if err != nil {
		return nil, nil, err
	}
	b.meter.take()
	end = func() {
		b.meter.residents = slices.DeleteFunc(b.meter.residents, func(p int) bool { return p == pid })
		if err := b.call(s, "delete", "--force", id); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err) // close tries again
		}
	}
	b.meter.residents = append(b.meter.residents, pid)
	return func() error {
		if err := b.call(s, "exec", id, "true"); err != nil {
			return err
		}
		return b.meter.drain()
	}, end, b.meter.drain()
}

func (b *bench) runTrue(s side, bundle string) error {
	if err := b.call(s, "run", "--bundle", bundle, b.newID()); err != nil {
		return err
	}
	return b.meter.drain()
}

// lifecycle creates, starts and deletes a container. The container's own process is waited for before delete, as a
// caller would that hears of its end.
func (b *bench) lifecycle(s side) error {
	id := b.newID()
	if err := b.call(s, "create", "--bundle", b.bundle("true"), id); err != nil {
		return err
	}
	if err := b.call(s, "start", id); err != nil {
		return err
	}
	if err := b.meter.drain(); err != nil {
		return err
	}
	if err := b.call(s, "delete", id); err != nil {
		return err
	}
	return b.meter.drain()
}

func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(data))
}
