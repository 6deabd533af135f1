package fault

// Code says what kind of failure an error is. The set is closed and its words are stable:
// a new kind gets a new word, an old word keeps its meaning. docs/errors.md lists them.
type Code string

// The codes, from the command line inwards.
const (
	Usage                Code = "usage"
	FlagFailed           Code = "flag-failed"
	IDInvalid            Code = "id-invalid"
	BundleUnreadable     Code = "bundle-unreadable"
	ConfigInvalid        Code = "config-invalid"
	Unsupported          Code = "unsupported"
	KernelTooOld         Code = "kernel-too-old"
	ContainerExists      Code = "container-exists"
	ContainerNotFound    Code = "container-not-found"
	ContainerNotRunning  Code = "container-not-running"
	ContainerRunning     Code = "container-running"
	ContainerPaused      Code = "container-paused"
	ContainerNotPaused   Code = "container-not-paused"
	ContainerBusy        Code = "container-busy"
	StateDamaged         Code = "state-damaged"
	StateFailed          Code = "state-failed"
	ProgramNotFound      Code = "program-not-found"
	ProgramNotExecutable Code = "program-not-executable"
	OOMKilled            Code = "oom-killed"
	InitDied             Code = "init-died"
	HookFailed           Code = "hook-failed"
	CgroupFailed         Code = "cgroup-failed"
	LaunchFailed         Code = "launch-failed"
	CRIUFailed           Code = "criu-failed"
	Internal             Code = "internal"
)

// Codes lists all codes in the order of their declaration.
func Codes() []Code {
	return []Code{
		Usage, FlagFailed, IDInvalid, BundleUnreadable, ConfigInvalid, Unsupported, KernelTooOld,
		ContainerExists, ContainerNotFound, ContainerNotRunning, ContainerRunning, ContainerPaused,
		ContainerNotPaused, ContainerBusy, StateDamaged, StateFailed, ProgramNotFound,
		ProgramNotExecutable, OOMKilled, InitDied, HookFailed, CgroupFailed, LaunchFailed, CRIUFailed, Internal,
	}
}
