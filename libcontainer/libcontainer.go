package libcontainer

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// Runtime is the place where containers live: one directory each below Root.
type Runtime struct {
	// Root is the directory of the containers' states, absolute.
	Root string
	// Rootless says that the user may lack rights over cgroups: those that can't be had are
	// done without.
	Rootless bool
	// Driver says who makes the cgroups of a new container; later commands know it from the
	// container's state.
	Driver plan.Driver
	// Warn receives what the user should know but what stops nothing; nil discards it.
	Warn func(string)
	// Debug receives what a new process is made by, a line for each operation of its plan; nil
	// discards it. Values of environment variables are not among it.
	Debug func(string)
}

// LaunchOptions is what create, run and exec share: how the new process meets its caller.
type LaunchOptions struct {
	// ConsoleSocket is the unix socket that receives the pty's master; "" for none.
	ConsoleSocket string
	// PidfdSocket is the unix socket that receives a pidfd of the process; "" for none.
	PidfdSocket string
	// PidFile is where the pid is written, as the last thing; "" for none.
	PidFile string
	// PreserveFDs is how many descriptors from 3 on reach the process, beside ListenFDs.
	PreserveFDs int
	// Detach returns once the process runs instead of waiting for its end.
	Detach bool
	// NoSubreaper keeps the runtime from adopting the container's orphans while it waits.
	NoSubreaper bool
}

// CreateOptions describes a container to make.
type CreateOptions struct {
	LaunchOptions
	ID     string
	Bundle string // directory with config.json
	// ConfigFile is read instead of the bundle's config.json, absolute; "" for that.
	ConfigFile string
	// NoPivot moves the root with MS_MOVE and chroot where pivot_root is impossible (a ramfs root).
	NoPivot bool
	// NoNewKeyring keeps the caller's session keyring.
	NoNewKeyring bool
	// NotifySocket is the caller's NOTIFY_SOCKET (sd_notify(3)); "" for none.
	NotifySocket string
	// ListenFDs is the caller's LISTEN_FDS (sd_listen_fds(3)); 0 for none. An exec'ed process
	// has none: LISTEN_PID must be its pid, which nobody knows beforehand but the first one's.
	ListenFDs int
	// Keep leaves the container's state after a foreground run.
	Keep bool

	notifyDir bool // the container has the directory of a NOTIFY_SOCKET, with or without one
}

// ExecOptions describes a process to add to a running container.
type ExecOptions struct {
	LaunchOptions
	ID string
	// ProcessFile is a JSON file with a process object; "" takes the container's own process
	// as the base and changes it by the fields below.
	ProcessFile    string
	Args           []string
	Cwd            string
	Env            []string // appended to the container's environment
	TTY            bool
	User           string // UID[:GID], "" keeps the container's
	AdditionalGIDs []uint32
	Caps           []string // added to the container's capabilities
	NoNewPrivs     bool
	ProcessLabel   string
	AppArmor       string
	CgroupPaths    []string // PATH or CONTROLLER[,CONTROLLER]:PATH below the container's cgroups
	IgnorePaused   bool
}

// Status is where a container stands in its life, runtime.md "State".
type Status string

// The statuses. Creating is seen only by hooks.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// Info is what state and list tell about a container.
type Info struct {
	OCIVersion  string
	ID          string
	PID         int // 0 when stopped
	Status      Status
	Bundle      string
	Rootfs      string
	Created     time.Time
	Annotations map[string]string
	Owner       uint32 // uid
}

// What a caller may branch on, with errors.Is. The texts are matched by real clients
// (docs/decisions/0008): they must stay.
var (
	ErrInvalidID   = state.ErrInvalidID
	ErrExist       = state.ErrExist
	ErrNotExist    = state.ErrNotExist
	ErrNotRunning  = errors.New("container not running")
	ErrStillRuns   = errors.New("container init still running")
	ErrPaused      = errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	ErrExecStopped = errors.New("cannot exec in a stopped container")
)

// verbs are Runtime's methods at one glance; each lives in a file of its name.
var _ interface {
	Create(*CreateOptions) error
	Run(*CreateOptions) (exitStatus int, err error)
	Start(id, notifySocket string) error
	Exec(*ExecOptions) (exitStatus int, err error)
	State(id string) (*Info, error)
	// List tells about every container; what can't be read is in broken, and stops nothing.
	List() (all []Info, broken []error, err error)
	Kill(id string, sig unix.Signal, all bool) error
	Delete(id string, force bool) error
	Pause(id string) error
	Resume(id string) error
	PIDs(id string) ([]int, error)
	AddMounts(id, file string) error
	RemoveMounts(id, file string) error
	Update(*UpdateOptions) error
	Stats(id string) (*Event, error)
	// Events calls tell until the container stops or tell returns an error.
	Events(id string, interval time.Duration, tell func(*Event) error) error
	Checkpoint(*CheckpointOptions) error
	Restore(*RestoreOptions) (exitStatus int, err error)
	// Plan prints what Create would do for the bundle; values of environment variables only when asked.
	Plan(o *CreateOptions, w io.Writer, format string, showEnv bool) error
	// PlanDiff prints what changes between the plans of two bundles.
	PlanDiff(before, after *CreateOptions, w io.Writer, format string, showEnv bool) (equal bool, err error)
} = (*Runtime)(nil)
