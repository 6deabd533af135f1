package validate

import (
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// namespaceKind numbers the kinds of namespaces.
type namespaceKind int

const (
	nsUnknown namespaceKind = iota
	nsPID
	nsNetwork
	nsMount
	nsIPC
	nsUTS
	nsUser
	nsCgroup
	nsTime
	nsKinds
)

func kindOf(t specs.LinuxNamespaceType) namespaceKind {
	switch t {
	case specs.PIDNamespace:
		return nsPID
	case specs.NetworkNamespace:
		return nsNetwork
	case specs.MountNamespace:
		return nsMount
	case specs.IPCNamespace:
		return nsIPC
	case specs.UTSNamespace:
		return nsUTS
	case specs.UserNamespace:
		return nsUser
	case specs.CgroupNamespace:
		return nsCgroup
	case specs.TimeNamespace:
		return nsTime
	}
	return nsUnknown
}

// namespaceSet is linux.namespaces by kind: the index of the first entry plus one.
type namespaceSet struct {
	at     [nsKinds]int
	joined [nsKinds]bool
}

func namespacesOf(list []specs.LinuxNamespace) namespaceSet {
	var set namespaceSet
	for i := range list {
		k := kindOf(list[i].Type)
		if set.at[k] == 0 {
			set.at[k] = i + 1
			set.joined[k] = list[i].Path != ""
		}
	}
	return set
}

// has reports whether the container is in a namespace of its own of that kind, new or
// joined by path.
func (s *namespaceSet) has(k namespaceKind) bool { return s.at[k] != 0 }

// creates reports whether the container gets a new namespace of that kind.
func (s *namespaceSet) creates(k namespaceKind) bool { return s.at[k] != 0 && !s.joined[k] }

func (c *checker) namespaces() {
	const path = "linux.namespaces"
	for i, n := range c.linux.Namespaces {
		k := kindOf(n.Type)
		if k == nsUnknown {
			c.addAt(path, i, ".type", refNamespaces,
				oneOf(string(n.Type), "pid, network, mount, ipc, uts, user, cgroup, time"))
		} else if first := c.ns.at[k] - 1; first != i {
			c.addAt(path, i, "", refNamespaces,
				"duplicated namespace "+quote(string(n.Type))+", is already "+element(path, first))
		}
		if n.Path != "" {
			c.addAt(path, i, ".path", refNamespaces, absoluteRule(n.Path))
		}
	}
	if c.facts.UID != 0 && !c.ns.has(nsUser) {
		c.add(path, refNamespaces, "must have a user namespace, for the runtime runs as uid "+
			strconv.FormatUint(uint64(c.facts.UID), 10))
	}
}

// maxName is the length of a host or domain name in bytes, uname(2).
const maxName = 64

func (c *checker) names(spec *specs.Spec) {
	c.utsName("hostname", refHostname, spec.Hostname)
	c.utsName("domainname", refDomainname, spec.Domainname)
}

func (c *checker) utsName(field, ref, name string) {
	if name == "" {
		return
	}
	if len(name) > maxName {
		c.add(field, ref, "has "+strconv.Itoa(len(name))+" bytes, must have at most "+strconv.Itoa(maxName))
	}
	c.add(field, ref, nulRule(name))
	if !c.ns.has(nsUTS) {
		c.add(field, ref, "unable to set "+field+" without a private UTS namespace")
	}
}

func (c *checker) timeOffsets() {
	const path = "linux.timeOffsets"
	offsets := c.linux.TimeOffsets
	if offsets == nil {
		return
	}
	if !c.ns.has(nsTime) {
		c.add(path, refTimeOffsets, "needs a time namespace in linux.namespaces")
	} else if !c.ns.creates(nsTime) {
		c.add(path, refTimeOffsets, "can't change the time namespace that linux.namespaces joins by path")
	}
	for _, clock := range slices.Sorted(maps.Keys(offsets)) {
		if clock != "monotonic" && clock != "boottime" {
			c.add(member(path, clock), refTimeOffsets, "is an unknown clock, must be monotonic or boottime")
		}
		if n := offsets[clock].Nanosecs; n >= 1e9 {
			c.add(member(path, clock)+".nanosecs", refTimeOffsets,
				"is "+strconv.FormatUint(uint64(n), 10)+", must be below 1000000000")
		}
	}
}
