package build

import (
	"fmt"

	"github.com/gantry-containers/gantry/engine/progress"
)

// console is what a client sees of its build. Each call is one message of the stream, as clients know them.
type console struct{ *progress.Writer }

func (c console) say(format string, args ...any) { c.Stream(fmt.Sprintf(format, args...)) }

// step names the instruction that comes now.
func (c console) step(n, of int, instruction any) {
	c.say("Step %d/%d : %v", n, of, instruction)
	c.say("\n")
}

// stdout is the output of a step.
type stdout struct{ console }

// Write implements io.Writer.
func (c stdout) Write(p []byte) (int, error) {
	c.Stream(string(p))
	return len(p), nil // A client that has gone ends the build's context.
}

// stderr is the errors of a step: in red.
type stderr struct{ console }

// Write implements io.Writer.
func (c stderr) Write(p []byte) (int, error) {
	c.Stream("\x1b[91m" + string(p) + "\x1b[0m")
	return len(p), nil // A client that has gone ends the build's context.
}
