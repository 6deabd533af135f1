package cgroup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	controllersFile = "cgroup.controllers"
	subtreeFile     = "cgroup.subtree_control"
	typeFile        = "cgroup.type"
)

// enableAll turns on every controller of the v2 hierarchy in the ancestors of the
// container's cgroup. Clients read the statistics of a container that asked for
// no limit, so what is available must be on.
//
// Nothing here is fatal: an ancestor with processes of its own can't hand on
// controllers (EBUSY, "no internal processes" in cgroup-v2.rst), and a rootless
// caller owns only a part of the chain. Write reports the controller that a limit
// then misses.
func enableAll(mount string, g *group) {
	all, err := readFile(mount, controllersFile)
	if err != nil {
		return
	}
	if own, err := readFile(g.dir, controllersFile); err != nil || own == all {
		return
	}
	for at := len(mount); at < len(g.dir); {
		offer(g.dir[:at])
		next := strings.IndexByte(g.dir[at+1:], '/')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	// Below a threaded cgroup a new one is unusable until it is threaded too.
	if kind, err := readFile(g.dir, typeFile); err == nil && kind == "domain invalid" {
		_ = writeFile(g.dir, typeFile, "threaded")
	}
}

// offer turns on in dir, for its children, each controller that dir has.
func offer(dir string) {
	have, err := readFile(dir, controllersFile)
	if err != nil || have == "" {
		return
	}
	if on, err := readFile(dir, subtreeFile); err != nil || on == have {
		return
	}
	// One write is all or nothing: after a refusal each controller gets its own.
	if writeFile(dir, subtreeFile, "+"+strings.ReplaceAll(have, " ", " +")) == nil {
		return
	}
	for controller := range strings.FieldsSeq(have) {
		_ = writeFile(dir, subtreeFile, "+"+controller)
	}
}

// enable turns on one controller for the v2 cgroup dir, from the closest ancestor
// that has it downwards.
func enable(dir, controller string) error {
	parent := parentOf(dir)
	if !isCgroup(parent) {
		return &FileError{Op: "find controller " + controller + " in", Path: dir, Err: unix.ENOENT}
	}
	err := writeFile(parent, subtreeFile, "+"+controller)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// The parent does not have the controller itself.
	if err := enable(parent, controller); err != nil {
		return err
	}
	return writeFile(parent, subtreeFile, "+"+controller)
}

// isCgroup reports whether dir lies on cgroupfs.
func isCgroup(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC
}
