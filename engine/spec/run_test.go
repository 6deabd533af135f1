package spec_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestRuns gives what Build makes for a few requests to our runtime, on this machine as it is.
func TestRuns(t *testing.T) {
	harness.NeedRoot(t)
	facts, err := host.Probe()
	if err != nil {
		t.Fatal(err)
	}
	var feat features.Features
	if err := json.Unmarshal([]byte(harness.New(t).MustRun("features")), &feat); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, script, want string
		config             api.Config
		hostConfig         api.HostConfig
	}{
		{name: "plain", script: "grep CapEff /proc/self/status", want: "00000000a80425fb"},
		{name: "privileged", script: "[ -w /sys/kernel/mm ] && ls /dev | grep -c null", want: "1", hostConfig: api.HostConfig{Privileged: true}},
		{name: "host", script: "echo $PATH", want: "/usr/local/sbin", hostConfig: api.HostConfig{NetworkMode: "host", PidMode: "host", IpcMode: "host", UTSMode: "host"}},
		{name: "tmpfs", script: "grep ' /x ' /proc/mounts", want: "size=1024k", hostConfig: api.HostConfig{Tmpfs: map[string]string{"/x": "size=1m"}}},
		{name: "readonly", script: "touch /a || echo no", want: "no", hostConfig: api.HostConfig{ReadonlyRootfs: true}},
		{name: "init", script: "true; cat /proc/1/cmdline", want: "docker-init", hostConfig: api.HostConfig{Init: new(true)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "init" && facts.InitPath == "" {
				t.Skip("this machine has no docker-init")
			}
			env := harness.New(t)
			id := env.ID("spec")
			bundle := env.Bundle("true", nil)
			c := &container.Container{
				ID: id, Path: "sh", Args: []string{"-c", tt.script}, Config: &tt.config, HostConfig: &tt.hostConfig,
			}
			c.Config.Hostname = "h"
			if _, err := spec.Check(c.Config, c.HostConfig, spec.Defaults{}, facts); err != nil {
				t.Fatal(err)
			}
			c.HostConfig.CgroupParent = "/" // the harness looks for what is left there
			s, err := spec.Build(spec.Input{Container: c, Facts: facts, Features: &feat})
			if err != nil {
				t.Fatal(err)
			}
			if err := save(filepath.Join(bundle, "config.json"), s); err != nil {
				t.Fatal(err)
			}
			if out := env.MustRun("run", "--bundle", bundle, id); !strings.Contains(out, tt.want) {
				t.Errorf("%s said %q, not %q", tt.script, out, tt.want)
			}
		})
	}
}

func save(path string, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
