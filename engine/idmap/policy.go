package idmap

import (
	"github.com/moby/sys/user"
)

// Policy says which containers have users of their own.
type Policy struct {
	// All is the ranges of all containers that do not ask for the host's users; empty for none.
	All user.IdentityMapping
	// Pool has a range for each container; nil for none. Each says that all get one; others ask by Label.
	Pool *Pool
	Each bool
}

// Label with the value Auto asks for a range of the container's own.
const (
	Label = "gantry.userns"
	Auto  = "auto"
)

// Own says that a container has a range of its own, shared that it has that of all. Host is what --userns=host says.
func (p Policy) Own(host bool, labels map[string]string) bool {
	return !host && p.Pool != nil && (p.Each || labels[Label] == Auto)
}

// Shared says that a container has the ranges of all.
func (p Policy) Shared(host bool) bool { return !host && len(p.All.UIDMaps) > 0 }
