// Package plan compiles a validated spec and facts about the host into an ordered
// list of typed operations: what the runtime and the container's first process
// will do, each with the field of config.json that asks for it.
//
// The package is pure: no effect, no system call, the same answer on every OS.
// Package launch lowers the operations to system calls and runs them.
package plan

// Actor says who performs an operation.
type Actor uint8

// The actors. When the actor changes between two neighbours after Clone, the two
// processes meet at a barrier; nothing else synchronises them.
const (
	Runtime Actor = iota // the runtime's own process
	Child                // the process that becomes the container's init, or an exec'ed process
)

// String names the actor as `runc plan` prints it.
func (a Actor) String() string {
	if a == Runtime {
		return "runtime"
	}
	return "child"
}

// Op is one operation of a plan.
type Op struct {
	Actor Actor
	// Field is the JSON path in config.json that the operation comes from, such as
	// "mounts[3]" or "process.capabilities.bounding"; for what every container gets,
	// the closest object ("root", "process", "linux").
	Field string
	Do    Action
}

// Plan is the ordered list of operations for one launch.
type Plan struct {
	Ops []Op
}

// add appends an operation.
func (p *Plan) add(actor Actor, field string, do Action) {
	p.Ops = append(p.Ops, Op{Actor: actor, Field: field, Do: do})
}

// Action is what an operation does: one of the structs in the action_*.go files.
type Action interface {
	// String says what will be done, in one line, as `runc plan` prints it.
	String() string
}
