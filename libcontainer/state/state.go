// Package state keeps what the runtime knows about a container between two of
// its commands: one directory per container with state.json, a copy of
// config.json and the start socket.
package state

import "time"

//go:generate go run ../internal/jsongen -out json_gen.go -decode State -encode State

// Version is the layout of state.json that this build writes. A file with a
// higher number was written by a newer runtime and is refused.
//
// 2: unit and userUnit. A runtime that does not know them would leave the unit behind.
const Version = 2

// State is the content of state.json. It records facts, never the status: that
// is derived from the process (Container.Status), so a crash can't make it lie.
type State struct {
	Version    int       `json:"version"`
	OCIVersion string    `json:"ociVersion"`
	ID         string    `json:"id"`
	Bundle     string    `json:"bundle"` // absolute
	Rootfs     string    `json:"rootfs"` // absolute
	Created    time.Time `json:"created"`
	Owner      uint32    `json:"owner"` // uid that created the container

	// Init is the container's first process; zero until it exists.
	Init Process `json:"init"`
	// Started is set once `start` let the init process execute the user's program.
	Started bool `json:"started"`

	// CgroupPaths are the container's cgroups: absolute directories, one per hierarchy.
	CgroupPaths []CgroupPath `json:"cgroups,omitempty"`
	// Unit is the systemd scope that the container is in; empty when the runtime made the
	// cgroups itself, or there are none. UserUnit says that it is the user manager's.
	Unit     string `json:"unit,omitempty"`
	UserUnit bool   `json:"userUnit,omitempty"`
	// Rootless says that the container was made without privileges over cgroups.
	Rootless bool `json:"rootless,omitempty"`
	// PrivatePID says that the container has its own pid namespace: killing init kills all.
	PrivatePID bool `json:"privatePid,omitempty"`
	// IntelRdt is where the container is in resctrl.
	IntelRdt IntelRdt `json:"intelRdt,omitzero"`

	Annotations map[string]string `json:"annotations,omitempty"`
}

// Process identifies a process across pid reuse.
type Process struct {
	PID int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot, proc_pid_stat(5).
	StartTime uint64 `json:"startTime"`
}

// IntelRdt is the container's place in the resctrl file system: absolute directories.
type IntelRdt struct {
	Root  string `json:"root"`  // of the file system
	Group string `json:"group"` // class of service
	// Made says that the runtime made the group for this container: it goes with it.
	Made bool `json:"made,omitempty"`
	// Monitor is the container's monitoring group, which goes with it; "" for none.
	Monitor string `json:"monitor,omitempty"`
}

// CgroupPath is the container's directory in one cgroup hierarchy.
type CgroupPath struct {
	// Hierarchy is host.Hierarchy.Name: "" for cgroup v2.
	Hierarchy string `json:"hierarchy"`
	Path      string `json:"path"`
}
