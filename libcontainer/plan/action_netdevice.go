package plan

// OpenNetlink hands the runtime a netlink socket of the container's network namespace,
// rtnetlink(7): the runtime joins no namespace.
type OpenNetlink struct{}

// MoveNetDevice moves a network device of the host into the container's network namespace,
// with its addresses, and brings it up there.
type MoveNetDevice struct {
	Name    string // on the host
	NewName string // in the container; the kernel puts a number for %d
}

func (*OpenNetlink) String() string { return "open a netlink socket for the runtime" }

func (a *MoveNetDevice) String() string {
	s := "move network device " + a.Name
	if a.NewName != a.Name {
		s += " as " + a.NewName
	}
	return s
}
