package config

import (
	"fmt"
	"time"
)

// file is how a Config looks in TOML. Every field points into a Config, so that a file changes what it names and
// leaves the rest. Version 2 has grpc, ttrpc, debug and metrics at the top, version 4 has most of them as plugins:
// both point to the same place.
type file struct {
	Version  *int     `toml:"version,omitempty"`
	Root     *string  `toml:"root"`
	State    *string  `toml:"state"`
	Temp     *string  `toml:"temp"`
	OOMScore *int     `toml:"oom_score"`
	Imports  []string `toml:"imports,omitempty"`
	// Which plugins there are is not for a file to say here, but a containerd's file may.
	Disabled []string `toml:"disabled_plugins,omitempty"`
	Required []string `toml:"required_plugins,omitempty"`

	GRPC     *socketFile         `toml:"grpc,omitempty"`
	TTRPC    *Socket             `toml:"ttrpc,omitempty"`
	Debug    *debugFile          `toml:"debug,omitempty"`
	Metrics  *Metrics            `toml:"metrics,omitempty"`
	Cgroup   cgroupFile          `toml:"cgroup"`
	Timeouts map[string]duration `toml:"timeouts,omitempty"`
	Plugins  plugins             `toml:"plugins"`
}

type plugins struct {
	Own          *ownFile      `toml:"io.gantry.manager.v1,omitempty"`
	GC           *gcFile       `toml:"io.containerd.gc.v1.scheduler,omitempty"`
	Metadata     *metadataFile `toml:"io.containerd.metadata.v1.bolt,omitempty"`
	Overlay      *Overlay      `toml:"io.containerd.snapshotter.v1.overlayfs,omitempty"`
	Shim         *Shim         `toml:"io.containerd.shim.v1.manager,omitempty"`
	Restart      *restartFile  `toml:"io.containerd.monitor.container.v1.restart,omitempty"`
	RestartOld   *restartFile  `toml:"io.containerd.internal.v1.restart,omitempty"` // version 2
	Transfer     *Transfer     `toml:"io.containerd.transfer.v1.local,omitempty"`
	ServerGRPC   *socketFile   `toml:"io.containerd.server.v1.grpc,omitempty"`
	ServerTTRPC  *Socket       `toml:"io.containerd.server.v1.ttrpc,omitempty"`
	ServerDebug  *debugFile    `toml:"io.containerd.server.v1.debug,omitempty"`
	ServerMetric *Metrics      `toml:"io.containerd.server.v1.metrics,omitempty"`
}

type ownFile struct {
	Runtime     *string           `toml:"default_runtime"`
	Snapshotter *string           `toml:"default_snapshotter"`
	Runtimes    map[string]string `toml:"runtimes"`
}

type socketFile struct {
	Address *string `toml:"address"`
	UID     *int    `toml:"uid"`
	GID     *int    `toml:"gid"`
	MaxRecv *int    `toml:"max_recv_message_size"`
	MaxSend *int    `toml:"max_send_message_size"`
}

type debugFile struct {
	Address *string `toml:"address"`
	UID     *int    `toml:"uid"`
	GID     *int    `toml:"gid"`
	Level   *string `toml:"level"`
	Format  *string `toml:"format"`
}

type gcFile struct {
	PauseThreshold    *float64  `toml:"pause_threshold"`
	DeletionThreshold *int      `toml:"deletion_threshold"`
	MutationThreshold *int      `toml:"mutation_threshold"`
	ScheduleDelay     *duration `toml:"schedule_delay"`
	StartupDelay      *duration `toml:"startup_delay"`
}

type cgroupFile struct {
	Path *string `toml:"path"`
}

type restartFile struct {
	Interval *duration `toml:"interval"`
}

type metadataFile struct {
	Sharing *sharing `toml:"content_sharing_policy"`
	NoSync  *bool    `toml:"no_sync"`
}

// view makes the file whose fields are those of c.
func (c *Config) view() *file {
	grpc := &socketFile{&c.GRPC.Address, &c.GRPC.UID, &c.GRPC.GID, &c.GRPC.MaxRecv, &c.GRPC.MaxSend}
	debug := &debugFile{&c.Debug.Address, &c.Debug.UID, &c.Debug.GID, &c.Debug.Level, &c.Debug.Format}
	return &file{
		Version: new(int),
		Root:    &c.Root, State: &c.State, Temp: &c.Temp, OOMScore: &c.OOMScore,
		GRPC: grpc, TTRPC: &c.TTRPC, Debug: debug, Metrics: &c.Metrics, Cgroup: cgroupFile{&c.Cgroup},
		Plugins: plugins{
			Own: &ownFile{&c.Runtime, &c.Snapshotter, c.Runtimes},
			GC: &gcFile{
				&c.GC.PauseThreshold, &c.GC.DeletionThreshold, &c.GC.MutationThreshold,
				(*duration)(&c.GC.ScheduleDelay), (*duration)(&c.GC.StartupDelay),
			},
			Metadata:   &metadataFile{(*sharing)(&c.Metadata.Isolated), &c.Metadata.NoSync},
			Overlay:    &c.Overlay,
			Shim:       &c.Shim,
			Restart:    &restartFile{(*duration)(&c.Restart.Interval)},
			RestartOld: &restartFile{(*duration)(&c.Restart.Interval)},
			Transfer:   &c.Transfer,
			ServerGRPC: grpc, ServerTTRPC: &c.TTRPC, ServerDebug: debug, ServerMetric: &c.Metrics,
		},
	}
}

// duration is a time.Duration that is written as Go writes it: 1m30s.
type duration time.Duration

// UnmarshalText reads one.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration such as 1m30s", text)
	case v < 0:
		return fmt.Errorf("%q is below 0", text)
	}
	*d = duration(v)
	return nil
}

// MarshalText writes one.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// sharing is containerd's word for Metadata.Isolated.
type sharing bool

// UnmarshalText reads it.
func (s *sharing) UnmarshalText(text []byte) error {
	switch string(text) {
	case "", "shared":
		*s = false
	case "isolated":
		*s = true
	default:
		return fmt.Errorf("%q is neither shared nor isolated", text)
	}
	return nil
}

// MarshalText writes it.
func (s sharing) MarshalText() ([]byte, error) {
	if s {
		return []byte("isolated"), nil
	}
	return []byte("shared"), nil
}
