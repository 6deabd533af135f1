package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/config"
)

// level is what the engine's log tells; it changes by reloads.
var level slog.LevelVar

// Log makes slog write as a configuration says, to stderr.
func Log(c *config.Config) {
	o := &slog.HandlerOptions{Level: &level}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, o)
	if c.Log.Format == "json" {
		h = slog.NewJSONHandler(os.Stderr, o)
	}
	slog.SetDefault(slog.New(h))
	setLevel(c.Log)
}

func setLevel(l config.Log) {
	if l.Debug {
		level.Set(slog.LevelDebug)
		return
	}
	switch strings.ToLower(l.Level) {
	case "trace", "debug":
		level.Set(slog.LevelDebug)
	case "info", "":
		level.Set(slog.LevelInfo)
	case "warn":
		level.Set(slog.LevelWarn)
	default:
		level.Set(slog.LevelError)
	}
}

// Reload takes over what can change while the engine runs: plugins that allow requests, debug, labels, features,
// registries and what containers get that say nothing. The rest waits for the next start.
func (e *Engine) Reload(fresh *config.Config) {
	c := *e.config.Load()
	c.Log, c.Labels, c.Features, c.ShutdownTimeout, c.Registry = fresh.Log, fresh.Labels, fresh.Features, fresh.ShutdownTimeout, fresh.Registry
	c.AuthZ = fresh.AuthZ
	e.authz.Set(c.AuthZ)
	d, f := &c.Containers, &fresh.Containers
	d.DefaultRuntime, d.Runtimes, d.ShmSize, d.IpcMode, d.CgroupnsMode, d.StopTimeout =
		f.DefaultRuntime, f.Runtimes, f.ShmSize, f.IpcMode, f.CgroupnsMode, f.StopTimeout
	e.config.Store(&c)
	setLevel(c.Log)
	if err := errors.Join(e.renewSettings(context.Background(), &c), e.parts.registry.Reload(e.registryConfig(&c))); err != nil {
		slog.Error("not all of the configuration could be taken over", "error", err)
	}
	slog.Info("configuration reloaded")
	e.bus.Publish(events.DaemonEventType, events.ActionReload, e.parts.system.ID(), reloaded(&c, e.parts.system.Name()))
}

// reloaded is what the event of a reload tells.
func reloaded(c *config.Config, name string) map[string]string {
	paths := []string{}
	for n, r := range c.Containers.Runtimes {
		paths = append(paths, n+":"+r.Path)
	}
	return map[string]string{
		"name": name, "debug": strconv.FormatBool(c.Log.Debug), "labels": list(c.Labels), "live-restore": "true",
		"features": fmt.Sprint(c.Features), "shutdown-timeout": strconv.Itoa(c.ShutdownTimeout),
		"insecure-registries": list(c.Registry.Insecure), "registry-mirrors": list(c.Registry.Mirrors),
		"max-concurrent-downloads": strconv.Itoa(c.Registry.Downloads), "max-concurrent-uploads": strconv.Itoa(c.Registry.Uploads),
		"max-download-attempts": strconv.Itoa(c.Registry.Attempts), "default-runtime": c.Containers.DefaultRuntime,
		"runtimes": strings.Join(paths, " "), "default-shm-size": strconv.FormatInt(c.Containers.ShmSize, 10),
		"default-ipc-mode": c.Containers.IpcMode, "default-cgroupns-mode": c.Containers.CgroupnsMode,
		"default-stop-timeout": strconv.Itoa(c.Containers.StopTimeout),
	}
}

func list(l []string) string {
	if l == nil {
		return "[]"
	}
	b, err := json.Marshal(l)
	if err != nil { // Strings can always be encoded.
		return "[]"
	}
	return string(b)
}
