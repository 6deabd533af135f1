package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Path is where the daemon looks for its file if it is told of none.
const Path = "/etc/gantry/manager.toml"

// Levels and Formats are the words for Debug.Level and Debug.Format.
var (
	Levels  = []string{"trace", "debug", "info", "warn", "error", "fatal", "panic"}
	Formats = []string{"text", "json"}
)

// Config is the whole configuration, with defaults in place.
type Config struct {
	Root, State string // directories: what outlives the machine, and what doesn't
	Temp        string // directory for what lasts no longer than an operation; "": the system's
	GRPC        Socket // for clients
	TTRPC       Socket // for shims; its address is, if "", that of GRPC with .ttrpc behind
	Debug       Debug
	Metrics     Metrics
	OOMScore    int               // of the daemon, -1000 to 1000; 0: as it was started
	Cgroup      string            // of the daemon, below the root of the hierarchies; "": as it was started
	Runtime     string            // the default runtime's name
	Runtimes    map[string]string // names that clients send, and what is meant: a name, or a binary's absolute path
	Shim        Shim
	Snapshotter string // the default's name
	Overlay     Overlay
	Metadata    Metadata
	GC          GC
	Transfer    Transfer
	Restart     Restart
	Timeouts    map[string]time.Duration // containerd's names: io.containerd.timeout.task.state
	Warnings    []string                 // settings of the files that mean nothing here
}

// Socket is a unix socket to listen on.
type Socket struct {
	Address          string `toml:"address"`
	UID              int    `toml:"uid"`
	GID              int    `toml:"gid"`
	MaxRecv, MaxSend int    `toml:"-"` // bytes of a message
}

// Debug is the debug socket and the log.
type Debug struct {
	Address  string // "": there is none
	UID, GID int
	Level    string // one of Levels
	Format   string // one of Formats
}

// Metrics is where Prometheus may ask, HOST:PORT; "" is nowhere.
type Metrics struct {
	Address string `toml:"address"`
}

// Shim is how shims are started.
type Shim struct {
	Env       []string `toml:"env"`
	SocketDir string   `toml:"socket_dir"`
}

// Overlay is the overlay snapshotter's.
type Overlay struct {
	Root          string   `toml:"root_path"`
	UpperdirLabel bool     `toml:"upperdir_label"`
	SyncRemove    bool     `toml:"sync_remove"`
	SlowChown     bool     `toml:"slow_chown"`
	MountOptions  []string `toml:"mount_options"`
}

// Metadata is the database's.
type Metadata struct {
	Isolated bool // content is not shared between namespaces
	NoSync   bool // bbolt does not wait for the disk
}

// GC says when garbage is collected; units and meaning are those of containerd's gc scheduler.
type GC struct {
	PauseThreshold    float64
	DeletionThreshold int
	MutationThreshold int
	ScheduleDelay     time.Duration
	StartupDelay      time.Duration
}

// Transfer is how images are pulled and pushed.
type Transfer struct {
	RegistryConfig string `toml:"config_path"`                    // a directory of hosts.toml files
	Downloads      int    `toml:"max_concurrent_downloads"`       // at the same time
	Uploads        int    `toml:"max_concurrent_uploaded_layers"` // at the same time
	Unpacks        int    `toml:"max_concurrent_unpacks"`         // at the same time
	LayerBuffer    int    `toml:"concurrent_layer_fetch_buffer"`  // bytes of a chunk where one layer is fetched in parallel; 0: it is not
}

// Restart is about containers whose labels say that the manager is to restart them.
type Restart struct {
	Interval time.Duration // from one look at them to the next
}

// Default is the configuration without a file.
func Default() Config {
	const message = 16 << 20 // as containerd's
	return Config{
		Root:  "/var/lib/gantry",
		State: "/run/gantry",
		GRPC:  Socket{Address: "/run/gantry/manager.sock", MaxRecv: message, MaxSend: message},
		Debug: Debug{Level: "info", Format: "text"},

		Runtime: "io.containerd.gantry.v2",
		// What clients send whose user has said nothing (docs/decisions/0033).
		Runtimes:    map[string]string{"io.containerd.runc.v2": "io.containerd.gantry.v2"},
		Snapshotter: "overlayfs",
		GC: GC{
			PauseThreshold:    0.02,
			MutationThreshold: 100,
			StartupDelay:      100 * time.Millisecond,
		},
		// containerd unpacks one layer after the other, unless it is told otherwise.
		Transfer: Transfer{Downloads: 3, Uploads: 3, Unpacks: min(max(runtime.GOMAXPROCS(0), 2), 8)},
		Restart:  Restart{Interval: 10 * time.Second},
		Timeouts: map[string]time.Duration{},
	}
}

// Complete fills in what follows from other settings, and checks the whole. Its error names every fault.
func (c *Config) Complete() error {
	if c.TTRPC.Address == "" {
		c.TTRPC.Address = c.GRPC.Address + ".ttrpc"
		c.TTRPC.UID, c.TTRPC.GID = c.GRPC.UID, c.GRPC.GID
	}
	if c.Restart.Interval == 0 {
		c.Restart.Interval = Default().Restart.Interval
	}
	if c.Debug.Level == "" {
		c.Debug.Level = "info"
	}
	if c.Debug.Format == "" {
		c.Debug.Format = "text"
	}
	var faults []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	for name, path := range map[string]string{
		"root": c.Root, "state": c.State, "grpc.address": c.GRPC.Address, "ttrpc.address": c.TTRPC.Address,
	} {
		require(filepath.IsAbs(path), "%s: %q is not an absolute path", name, path)
	}
	require(c.Root != c.State, "root and state are the same directory, %s", c.Root)
	require(c.GRPC.Address != c.TTRPC.Address, "grpc.address and ttrpc.address are the same, %s", c.GRPC.Address)
	require(slices.Contains(Levels, c.Debug.Level), "debug.level: %q is none of %s", c.Debug.Level, strings.Join(Levels, ", "))
	require(slices.Contains(Formats, c.Debug.Format), "debug.format: %q is none of %s", c.Debug.Format, strings.Join(Formats, ", "))
	require(c.OOMScore >= -1000 && c.OOMScore <= 1000, "oom_score: %d is not in -1000..1000", c.OOMScore)
	require(c.GRPC.MaxRecv > 0 && c.GRPC.MaxSend > 0, "grpc: the size of messages must be above 0")
	require(c.Transfer.Unpacks > 0 && c.Transfer.Downloads > 0 && c.Transfer.Uploads > 0, "transfer: the max_concurrent values must be above 0")
	for name, meant := range c.Runtimes {
		require(name != "" && !filepath.IsAbs(name) && meant != "", "runtimes: %q = %q: want a runtime's name, and a name or a path", name, meant)
	}
	require(c.GC.PauseThreshold >= 0 && c.GC.PauseThreshold <= 0.5, "gc.pause_threshold: %v is not in 0..0.5", c.GC.PauseThreshold)
	return errors.Join(faults...)
}
