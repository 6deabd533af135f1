// Package bug is for what cannot happen.
package bug

// Found ends the program: a fault of ours was met, not of the input or the machine. The
// text asks for a report, so that it is not mistaken for one of those.
func Found(what string) {
	panic("bug in gantry, please report it: " + what) //nolint:forbidigo // the one place
}
