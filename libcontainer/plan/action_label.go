package plan

// ChangeProfile puts the process under an AppArmor profile when it executes the program.
type ChangeProfile struct {
	Profile string
}

// SetExecLabel gives the process a SELinux label when it executes the program.
type SetExecLabel struct {
	Label string
}

// LabelMount gives the root of a mounted file system a SELinux label, as an attribute.
type LabelMount struct {
	Destination string
	Label       string
}

func (a *ChangeProfile) String() string {
	return "change to AppArmor profile " + a.Profile + " on exec"
}
func (a *SetExecLabel) String() string { return "take SELinux label " + a.Label + " on exec" }
func (a *LabelMount) String() string   { return "label " + a.Destination + " " + a.Label }

func labelSuffix(label string) string {
	if label == "" {
		return ""
	}
	return " with SELinux label " + label
}
