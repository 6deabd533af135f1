package netkeeper

import (
	"github.com/gantry-containers/gantry/engine/nameserver"
	"github.com/gantry-containers/gantry/engine/ports"
)

type (
	// Port is a published port that the process listens on for a container.
	Port = ports.Port
	// Held is a port with who has it.
	Held = ports.Held
	// InUseError says that a port is taken.
	InUseError = ports.InUseError
	// Sandbox is a network namespace in which names are answered at 127.0.0.11.
	Sandbox = nameserver.Sandbox
	// Upstream is a name server outside.
	Upstream = nameserver.Upstream
	// Endpoint is a place on a network.
	Endpoint = nameserver.Endpoint
)

// List is all that a netkeeper has, in order of who has it.
type List struct {
	Ports     []Held
	Sandboxes []Sandbox
}

// What a request can ask for.
const (
	opHello     = "hello"
	opPublish   = "publish"
	opUnpublish = "unpublish"
	opAnswer    = "answer"
	opForget    = "forget"
	opList      = "list"
	opHandOver  = "hand over"
)

// request is what an engine asks. Each can be asked again when no answer came.
type request struct {
	// ID comes back in the reply.
	ID uint64
	Op string
	// Owner is a container's id.
	Owner string `json:",omitempty"`
	// Call is the same when a request to publish is asked again.
	Call    string   `json:",omitempty"`
	Ports   []Port   `json:",omitempty"`
	Sandbox *Sandbox `json:",omitempty"`
}

// reply is an answer.
type reply struct {
	ID    uint64
	Error string      `json:",omitempty"`
	InUse *InUseError `json:",omitempty"`
	Ports []Port      `json:",omitempty"`
	List  *List       `json:",omitempty"`
	// Build and Pid are the netkeeper's, in the answer to hello.
	Build string `json:",omitempty"`
	Pid   int    `json:",omitempty"`
}
