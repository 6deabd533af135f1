// Package idmap reads the mount option idmap, and ridmap for all mounts below, with which
// a mount asks for a mapping of its owners. The spec knows the words alone; crun also takes
// the mapping with them:
//
//	idmap=uids=0-1-10#10-11-10;gids=0-100-10
//
// Each triplet is the first id in the file system, the first id on the host and the length
// of a range. With @ in front the second id is one of the container, to be looked up in the
// mappings of its user namespace.
package idmap

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Option is what one option asks for.
type Option struct {
	Recursive bool
	// Value is the text behind the first equals sign; "" leaves it to the mappings of the
	// mount, or of the container.
	Value string
}

// Cut reports whether a mount option is one of the two, and what it asks for.
func Cut(option string) (Option, bool) {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "idmap":
		return Option{Value: value}, true
	case "ridmap":
		return Option{Recursive: true, Value: value}, true
	}
	return Option{}, false
}

// Parse reads a value. uids and gids are the mappings of the container's user namespace,
// for relative ranges.
func Parse(value string, uids, gids []specs.LinuxIDMapping) (u, g []specs.LinuxIDMapping, err error) {
	for part := range strings.SplitSeq(value, ";") {
		name, list, _ := strings.Cut(part, "=")
		into, container := &u, uids
		switch name {
		case "uids":
		case "gids":
			into, container = &g, gids
		default:
			return nil, nil, fmt.Errorf("%q is neither uids= nor gids=", part)
		}
		if *into != nil {
			return nil, nil, errors.New(name + "= is there twice")
		}
		if *into, err = ranges(list, container); err != nil {
			return nil, nil, err
		}
	}
	if len(u) == 0 || len(g) == 0 {
		return nil, nil, errors.New("must have both uids= and gids=")
	}
	return u, g, nil
}

func ranges(list string, container []specs.LinuxIDMapping) ([]specs.LinuxIDMapping, error) {
	var all []specs.LinuxIDMapping
	for text := range strings.SplitSeq(list, "#") {
		triplet, relative := strings.CutPrefix(text, "@")
		var n [3]uint32
		words := strings.Split(triplet, "-")
		if len(words) != len(n) {
			return nil, fmt.Errorf("%q is no range, such as 0-1000-1", text)
		}
		for i, w := range words {
			id, err := strconv.ParseUint(w, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is no range, such as 0-1000-1", text)
			}
			n[i] = uint32(id)
		}
		m := specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]}
		if relative {
			var err error
			if m.HostID, err = onHost(m, container); err != nil {
				return nil, fmt.Errorf("%q %w", text, err)
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// onHost looks up a range of the container's ids. One that spans two mappings would need
// to be two, which crun leaves to the caller without a word.
func onHost(m specs.LinuxIDMapping, container []specs.LinuxIDMapping) (uint32, error) {
	for _, c := range container {
		if m.HostID < c.ContainerID || uint64(m.HostID) >= uint64(c.ContainerID)+uint64(c.Size) {
			continue
		}
		if uint64(m.HostID)+uint64(m.Size) > uint64(c.ContainerID)+uint64(c.Size) {
			return 0, errors.New("spans more than one mapping of the user namespace")
		}
		return m.HostID - c.ContainerID + c.HostID, nil
	}
	return 0, errors.New("is not mapped by the user namespace")
}
