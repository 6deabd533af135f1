package validate

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestAddedMounts(t *testing.T) {
	for name, c := range map[string]struct {
		mount specs.Mount
		want  []string
	}{
		"a bind":          {specs.Mount{Destination: "/a", Source: "/a", Options: []string{"rbind", "ro", "idmap"}}, nil},
		"a tmpfs":         {specs.Mount{Destination: "a/b", Type: "tmpfs", Options: []string{"tmpcopyup", "size=1k"}}, nil},
		"a procfs":        {specs.Mount{Destination: "/proc", Type: "proc"}, nil},
		"a file of lxcfs": {specs.Mount{Destination: "/proc/uptime", Source: "/a", Options: []string{"bind"}}, nil},
		"nothing": {specs.Mount{}, []string{
			"mounts[0].destination: must not be empty",
			"mounts[0].type: must not be empty without bind, rbind or remount in the options",
		}},
		"the root":   {specs.Mount{Destination: "/a/..", Type: "tmpfs"}, []string{"mounts[0].destination: is the container's root"}},
		"a remount":  {specs.Mount{Destination: "/a", Options: []string{"remount"}}, []string{"mounts[0].options: has remount, which could change another mount of a running container"}},
		"cgroups":    {specs.Mount{Destination: "/a", Type: "cgroup2"}, []string{`mounts[0].type: is "cgroup2", which can't be added to a running container`}},
		"over /proc": {specs.Mount{Destination: "/proc/self", Type: "tmpfs"}, []string{`mounts[0].destination: "/proc/self" cannot be mounted because it is inside /proc`}},
		"a symlink": {
			specs.Mount{Destination: "/a", Source: "/a", Options: []string{"bind", "copy-symlink"}},
			[]string{"mounts[0].options: has copy-symlink or dest-nofollow, which need a container that does not run"},
		},
		"on a symlink": {
			specs.Mount{Destination: "/a", Source: "/a", Options: []string{"bind", "dest-nofollow"}},
			[]string{"mounts[0].options: has copy-symlink or dest-nofollow, which need a container that does not run"},
		},
	} {
		if got := texts(AddedMounts([]specs.Mount{c.mount}, load(t, "full.json"), &root)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestRemovedMounts(t *testing.T) {
	config := load(t, "full.json")
	config.Linux.MaskedPaths, config.Linux.ReadonlyPaths = []string{"/sys/firmware"}, []string{"/etc/"}
	for destination, want := range map[string][]string{
		"/a":               nil,
		"/proc":            nil,
		"/proc/uptime":     nil,
		"":                 {"mounts[0].destination: must not be empty"},
		"/":                {"mounts[0].destination: is the container's root"},
		"a/../..":          {"mounts[0].destination: is the container's root"},
		"/proc/kcore":      {"mounts[0].destination: is inside /proc, where mounts protect the container"},
		"/sys/./firmware/": {"mounts[0].destination: is one of linux.maskedPaths or linux.readonlyPaths"},
		"etc":              {"mounts[0].destination: is one of linux.maskedPaths or linux.readonlyPaths"},
		"/a\x00":           {"mounts[0].destination: contains a NUL byte"},
	} {
		if got := texts(RemovedMounts([]specs.Mount{{Destination: destination}}, config, &root)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", destination, got, want)
		}
	}
}
