package validate

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxMappings is the number of lines of a uid_map, user_namespaces(7).
const maxMappings = 340

// maxID is the highest user or group id; the one above it means "no id".
const maxID = 1<<32 - 2

// userMappings checks the ids of the container's own user namespace.
func (c *checker) userMappings() {
	l := c.linux
	c.mappings("linux.uidMappings", refMappings, l.UIDMappings)
	c.mappings("linux.gidMappings", refMappings, l.GIDMappings)
	if !c.ns.has(nsUser) {
		const rule = "needs a user namespace in linux.namespaces"
		if l.UIDMappings != nil {
			c.add("linux.uidMappings", refMappings, rule)
		}
		if l.GIDMappings != nil {
			c.add("linux.gidMappings", refMappings, rule)
		}
		return
	}
	if !c.ns.creates(nsUser) {
		return
	}
	const rule = "must map container id 0, for a new user namespace is asked for"
	if !mapped(l.UIDMappings, 0) {
		c.add("linux.uidMappings", refMappings, rule)
	}
	if !mapped(l.GIDMappings, 0) {
		c.add("linux.gidMappings", refMappings, rule)
	}
}

// mappings checks one list by the rules of user_namespaces(7).
func (c *checker) mappings(path, ref string, list []specs.LinuxIDMapping) {
	if len(list) > maxMappings {
		c.add(path, ref, "has "+strconv.Itoa(len(list))+" entries, must have at most "+strconv.Itoa(maxMappings))
		return
	}
	for i, m := range list {
		if m.Size == 0 {
			c.addAt(path, i, ".size", ref, "is 0, must be at least 1")
			continue
		}
		c.addAt(path, i, ".containerID", ref, rangeRule(m.ContainerID, m.Size))
		c.addAt(path, i, ".hostID", ref, rangeRule(m.HostID, m.Size))
		for j, other := range list[:i] {
			if overlap(m.ContainerID, m.Size, other.ContainerID, other.Size) {
				c.addAt(path, i, ".containerID", ref, "overlaps the container ids of "+element(path, j))
			}
			if overlap(m.HostID, m.Size, other.HostID, other.Size) {
				c.addAt(path, i, ".hostID", ref, "overlaps the host ids of "+element(path, j))
			}
		}
	}
}

func rangeRule(first, size uint32) string {
	if uint64(first)+uint64(size)-1 <= maxID {
		return ""
	}
	return strconv.FormatUint(uint64(size), 10) + " ids from " + strconv.FormatUint(uint64(first), 10) +
		" on end after the highest id " + strconv.Itoa(maxID)
}

func overlap(a, sizeA, b, sizeB uint32) bool {
	return uint64(a) < uint64(b)+uint64(sizeB) && uint64(b) < uint64(a)+uint64(sizeA)
}

// mapped reports whether the id of the container has one on the host.
func mapped(list []specs.LinuxIDMapping, id uint32) bool {
	for _, m := range list {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return true
		}
	}
	return false
}

// unmappedRule is the rule for an id of the container that its own user namespace lacks.
// A namespace joined by path knows its ids itself.
func (c *checker) unmappedRule(list []specs.LinuxIDMapping, id uint32) string {
	if len(list) == 0 || !c.ns.creates(nsUser) || mapped(list, id) {
		return ""
	}
	return "is " + strconv.FormatUint(uint64(id), 10) + ", which the user namespace does not map"
}
