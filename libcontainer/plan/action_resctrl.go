package plan

import "strings"

// MakeResctrlGroup makes sure that the container's class of service is there, and makes its
// monitoring group, config-linux.md "IntelRdt".
type MakeResctrlGroup struct {
	Root string // where resctrl is mounted
	Name string // of the class; "" is the default one, Root itself
	// MustExist wants the class to be there already.
	MustExist bool
	// Match are lines that the schemata of a class that is there already must agree with.
	Match []string
	// Own makes the class the container's: if it was made for it, it goes with it.
	Own bool
	// Monitor is the name of the container's monitoring group; "" for none.
	Monitor string
}

// WriteSchemata writes lines of a class of service, Documentation/filesystems/resctrl.rst.
type WriteSchemata struct {
	Group string // directory
	Lines []string
}

// JoinResctrlGroup moves the child, which is one thread, into its class of service and its
// monitoring group; what it forks later is in them, too.
type JoinResctrlGroup struct {
	Group   string // directory
	Monitor string // directory, "" for none
}

// Dir is the directory of the class.
func (a *MakeResctrlGroup) Dir() string {
	if a.Name == "" {
		return a.Root
	}
	return a.Root + "/" + a.Name
}

// MonitorDir is the directory of the monitoring group, "" for none.
func (a *MakeResctrlGroup) MonitorDir() string {
	if a.Monitor == "" {
		return ""
	}
	return a.Dir() + "/mon_groups/" + a.Monitor
}

func (a *MakeResctrlGroup) String() string {
	verb := "make resctrl group "
	if a.MustExist || a.Name == "" {
		verb = "find resctrl group "
	}
	text := verb + a.Dir()
	if len(a.Match) > 0 {
		text += ", or find it with " + strings.Join(a.Match, " and ")
	}
	if a.Monitor != "" {
		text += ", make its monitoring group " + a.Monitor
	}
	return text
}

func (a *WriteSchemata) String() string {
	return "write " + strings.Join(a.Lines, " and ") + " to " + a.Group + "/schemata"
}

func (a *JoinResctrlGroup) String() string {
	text := "join resctrl group " + a.Group
	if a.Monitor != "" {
		text += " and " + a.Monitor
	}
	return text
}
