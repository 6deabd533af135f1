package plan

// Unmount takes a mount of a running container away. No symlink may lead to it: the
// container could make it lead to one that protects it.
type Unmount struct {
	Destination string
}

// Exit ends a process that has no program to run.
type Exit struct{}

func (a *Unmount) String() string { return "unmount " + a.Destination }
func (*Exit) String() string      { return "end the process" }
