package validate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestWarnings(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*specs.Spec)
		want   []string
	}{
		"nothing to warn of": {func(*specs.Spec) {}, nil},
		"no process":         {func(s *specs.Spec) { s.Process = nil }, nil},
		"capabilities that are unknown or too new": {
			func(s *specs.Spec) {
				s.Process.Capabilities = &specs.LinuxCapabilities{
					Bounding: []string{"CAP_KILL", "CAP_TEST"}, Effective: []string{"cap_kill"}, Inheritable: []string{"ALL"},
					Permitted: []string{""}, Ambient: []string{"CAP_BPF"},
				}
			},
			[]string{
				`process.capabilities.bounding[1]: ignoring unknown capability "CAP_TEST"`,
				`process.capabilities.effective[0]: ignoring unknown capability "cap_kill"`,
				`process.capabilities.inheritable[0]: ignoring unknown capability "ALL"`,
				`process.capabilities.permitted[0]: ignoring unknown capability ""`,
				"process.capabilities.ambient[0]: ignoring CAP_BPF, this kernel does not have it",
			},
		},
		"ambient capabilities that the kernel refuses": {
			func(s *specs.Spec) {
				s.Process.Capabilities = &specs.LinuxCapabilities{
					Permitted: []string{"CAP_KILL", "CAP_CHOWN"}, Inheritable: []string{"CAP_KILL", "CAP_MKNOD"},
					Ambient: []string{"CAP_KILL", "CAP_CHOWN", "CAP_MKNOD"},
				}
			},
			[]string{"process.capabilities.ambient: can't raise ambient capability CAP_CHOWN, CAP_MKNOD: not both permitted and inheritable"},
		},
		"old and odd mounts": {
			func(s *specs.Spec) {
				s.Mounts = []specs.Mount{{Destination: "tmp", Type: "ramfs", Options: []string{"ro", "tmpcopyup"}}}
			},
			[]string{
				`mounts[0].destination: is "tmp", relative paths are deprecated: taken as relative to /`,
				"mounts[0].options[1]: tmpcopyup is ignored, only a tmpfs can have it",
			},
		},
		"mounts on the host": {
			func(s *specs.Spec) { without(s.Linux, "mount") },
			[]string{
				"root.readonly: is ignored, for linux.namespaces has no mount namespace",
				"mounts: are made on the host and stay there, for linux.namespaces has no mount namespace",
			},
		},
		"options that a bind mount does not have": {
			func(s *specs.Spec) {
				s.Mounts = []specs.Mount{
					{Destination: "/a", Type: "bind", Source: "/a", Options: []string{"", "ro", "size=1k"}},
					{Destination: "/b", Type: "tmpfs", Options: []string{"size=1k"}},
				}
			},
			[]string{`mounts[0].options[2]: is "size=1k", ignored, for a bind mount has no options of a filesystem`},
		},
		"mappings for a joined user namespace": {
			func(s *specs.Spec) { s.Linux.Namespaces[5].Path = "/proc/1/ns/user" },
			[]string{
				"linux.uidMappings: is not used, for linux.namespaces joins a user namespace by path",
				"linux.gidMappings: is not used, for linux.namespaces joins a user namespace by path",
			},
		},
		"flags of a personality": {
			func(s *specs.Spec) { s.Linux.Personality.Flags = []specs.LinuxPersonalityFlag{"X"} },
			[]string{"linux.personality.flags: is ignored, no flags are supported"},
		},
		"sections for other platforms": {
			func(s *specs.Spec) {
				s.Solaris, s.Windows, s.VM = &specs.Solaris{}, &specs.Windows{}, &specs.VM{}
				s.ZOS, s.FreeBSD = &specs.ZOS{}, &specs.FreeBSD{}
			},
			[]string{
				"solaris: is ignored, for this is a Linux container",
				"windows: is ignored, for this is a Linux container",
				"vm: is ignored, for this is a Linux container",
				"zos: is ignored, for this is a Linux container",
				"freebsd: is ignored, for this is a Linux container",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := load(t, "full.json")
			spec.Linux.Resources = nil
			test.change(spec)
			facts := root
			facts.LastCap = 38 // before CAP_BPF
			if diff := cmp.Diff(test.want, texts(Warnings(spec, &facts))); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if got := Spec(spec, &facts); test.want == nil && spec.Process != nil && len(got) > 0 {
				t.Errorf("problems: %q", texts(got))
			}
		})
	}
}
