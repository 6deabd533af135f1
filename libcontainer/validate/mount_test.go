package validate

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// onMount is a bad case with a single mount.
func onMount(m specs.Mount, want ...string) badCase {
	return badCase{change: func(s *specs.Spec) { s.Mounts = []specs.Mount{m} }, want: want}
}

var one = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}}

var mountCases = map[string]badCase{
	"a mount of nothing": onMount(specs.Mount{},
		"mounts[0].destination: must not be empty",
		"mounts[0].type: must not be empty without bind, rbind or remount in the options"),
	"mount fields with a NUL": onMount(specs.Mount{Destination: "/\x00", Type: "\x00", Source: "a\x00", Options: []string{"ro", "mode=\x00"}},
		"mounts[0].destination: contains a NUL byte", "mounts[0].type: contains a NUL byte",
		"mounts[0].source: contains a NUL byte", "mounts[0].options[1]: contains a NUL byte"),
	"a type rbind without the option": onMount(specs.Mount{Destination: "/a", Type: "rbind", Source: "/a", Options: []string{"ro"}},
		`mounts[0].type: is "rbind", a bind mount must have bind or rbind in its options`),
	"a bind of nothing": onMount(specs.Mount{Destination: "/a", Options: []string{"rbind"}},
		"mounts[0].source: must not be empty for a bind mount"),
	"a bind of nothing by its type": onMount(specs.Mount{Destination: "/a", Type: "bind"},
		"mounts[0].source: must not be empty for a bind mount"),
	"a tmpfs on /proc": onMount(specs.Mount{Destination: "/proc", Type: "tmpfs"},
		`mounts[0].destination: "/proc" cannot be mounted because it is not of type proc`),
	"a detour to /proc": onMount(specs.Mount{Destination: "tmp/../../proc/.", Type: "tmpfs"},
		`mounts[0].destination: "/proc" cannot be mounted because it is not of type proc`),
	"a bind inside /proc": onMount(specs.Mount{Destination: "/proc//self/", Source: "/a", Options: []string{"bind"}},
		`mounts[0].destination: "/proc/self" cannot be mounted because it is inside /proc`),
	"a procfs inside /proc": onMount(specs.Mount{Destination: "/proc/1", Type: "proc"},
		`mounts[0].destination: "/proc/1" cannot be mounted because it is inside /proc`),
	"an idmapped tmpfs": onMount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"idmap"}},
		"mounts[0]: is idmapped, only a bind mount can be"),
	"an idmap with uids only": onMount(specs.Mount{Destination: "/a", Source: "/a", Options: []string{"bind"}, UIDMappings: one},
		"mounts[0].gidMappings: must not be empty beside uidMappings"),
	"an idmap with gids only": onMount(specs.Mount{Destination: "/a", Source: "/a", Options: []string{"bind", "idmap"}, GIDMappings: one},
		"mounts[0].uidMappings: must not be empty beside gidMappings"),
	"an idmap of impossible ids": onMount(specs.Mount{
		Destination: "/a", Source: "/a", Options: []string{"bind", "idmap"},
		UIDMappings: []specs.LinuxIDMapping{{Size: 0}},
		GIDMappings: []specs.LinuxIDMapping{{ContainerID: 4294967295, HostID: 4294967294, Size: 2}},
	},
		"mounts[0].uidMappings[0].size: is 0, must be at least 1",
		"mounts[0].gidMappings[0].containerID: 2 ids from 4294967295 on end after the highest id 4294967294",
		"mounts[0].gidMappings[0].hostID: 2 ids from 4294967294 on end after the highest id 4294967294"),
	"idmaps that overlap": onMount(specs.Mount{
		Destination: "/a", Source: "/a", Options: []string{"bind", "idmap"}, GIDMappings: one,
		UIDMappings: []specs.LinuxIDMapping{{HostID: 4294967295, Size: 1}, {ContainerID: 4294967295, HostID: 4294967295, Size: 1}},
	},
		"mounts[0].uidMappings[0].hostID: 1 ids from 4294967295 on end after the highest id 4294967294",
		"mounts[0].uidMappings[1].containerID: 1 ids from 4294967295 on end after the highest id 4294967294",
		"mounts[0].uidMappings[1].hostID: 1 ids from 4294967295 on end after the highest id 4294967294",
		"mounts[0].uidMappings[1].hostID: overlaps the host ids of mounts[0].uidMappings[0]"),
	"a mapping in the option of a tmpfs": onMount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"idmap=uids=0-0-1;gids=0-0-1"}},
		"mounts[0]: is idmapped, only a bind mount can be"),
	"a mapping in the option and beside it": onMount(specs.Mount{
		Destination: "/a", Source: "/a", UIDMappings: one, GIDMappings: one,
		Options: []string{"bind", "ridmap=uids=0-0-1;gids=0-0-1"},
	}, "mounts[0].options[1]: has a mapping, which the mount's uidMappings and gidMappings have, too"),
	"a mapping in the option that is none": onMount(specs.Mount{Destination: "/a", Source: "/a", Options: []string{"bind", "idmap=uids=0-1"}},
		`mounts[0].options[1]: "0-1" is no range, such as 0-1000-1`),
	"a mapping in the option of impossible ids": onMount(specs.Mount{
		Destination: "/a", Source: "/a", Options: []string{"bind", "idmap=uids=0-0-0;gids=0-4294967295-1"},
	},
		"mounts[0].options[1] uids[0].size: is 0, must be at least 1",
		"mounts[0].options[1] gids[0].hostID: 1 ids from 4294967295 on end after the highest id 4294967294"),
	"a relative mapping that the user namespace lacks": onMount(specs.Mount{
		Destination: "/a", Source: "/a", Options: []string{"bind", "idmap=uids=@0-5000-1;gids=0-0-1"},
	}, `mounts[0].options[1]: "@0-5000-1" is not mapped by the user namespace`),
	"options for symlinks on a tmpfs": onMount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"src-nofollow", "dest-nofollow", "copy-symlink"}},
		"mounts[0].options[0]: src-nofollow is for bind mounts",
		"mounts[0].options[0]: src-nofollow and copy-symlink exclude each other",
		"mounts[0].options[1]: dest-nofollow is for bind mounts",
		"mounts[0].options[1]: dest-nofollow and copy-symlink exclude each other",
		"mounts[0].options[2]: copy-symlink is for bind mounts"),
	"a symlink to copy and to map": onMount(specs.Mount{Destination: "/a", Source: "/a", Options: []string{"bind", "copy-symlink", "idmap"}},
		"mounts[0].options[1]: copy-symlink can't be idmapped"),
	"sizes of zero for gids": onMount(specs.Mount{
		Destination: "/a", Source: "/a", Options: []string{"bind"}, UIDMappings: one, GIDMappings: []specs.LinuxIDMapping{{}},
	}, "mounts[0].gidMappings[0].size: is 0, must be at least 1"),
	"an idmap without any mapping": {
		change: func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: "mount"}, {Type: "uts"}, {Type: "ipc"}, {Type: "network"}, {Type: "time"}}
			s.Linux.UIDMappings, s.Linux.GIDMappings, s.Linux.Sysctl = nil, nil, nil
			s.Mounts = []specs.Mount{{Destination: "/a", Source: "/a", Options: []string{"bind", "idmap"}}}
		},
		want: []string{"mounts[0]: is idmapped, must have uidMappings and gidMappings when there is no user namespace"},
	},
	"a rootless container with owners it lacks": {
		uid: 1000,
		change: func(s *specs.Spec) {
			s.Linux.NetDevices = nil
			s.Mounts = []specs.Mount{{Destination: "/a", Type: "tmpfs", Options: []string{"uid=5000", "gid=5001", "gid=0", "uid=x", "mode=755"}}}
		},
		want: []string{
			`mounts[0].options[0]: "uid=5000" names an id that the user namespace does not map`,
			`mounts[0].options[1]: "gid=5001" names an id that the user namespace does not map`,
		},
	},
	"a rootless idmap": {
		uid:    1000,
		change: func(s *specs.Spec) { s.Linux.NetDevices = nil },
		want:   []string{"mounts[3]: is idmapped, rootless containers cannot have that"},
	},
}

func TestMountsThatRealEnginesAskFor(t *testing.T) {
	for name, m := range map[string]specs.Mount{
		"a bind of the host's procfs":       {Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind"}},
		"a relative destination":            {Destination: "tmp", Type: "tmpfs"},
		"dots in a destination":             {Destination: "/a/../b", Type: "tmpfs"},
		"a name that starts like /proc":     {Destination: "/process", Type: "tmpfs"},
		"a file of lxcfs":                   {Destination: "/proc/uptime", Source: "/x", Options: []string{"bind"}},
		"a bind with an unknown type":       {Destination: "/a", Type: "none", Source: "a", Options: []string{"defaults", "rbind", "rnoexec", "rshared"}},
		"a bind by its type alone":          {Destination: "/a", Type: "bind", Source: "/a", Options: []string{"ro"}},
		"a bind with a filesystem's option": {Destination: "/a", Source: "/a", Options: []string{"bind", "size=1k"}},
		"an option only for a filesystem":   {Destination: "/a", Type: "overlay", Options: []string{"lowerdir=/a,upperdir=/b"}},
		"a bind with an empty option":       {Destination: "/a", Source: "a", Options: []string{"bind", ""}},
		"the ids of the user namespace":     {Destination: "/a", Source: "/a", Options: []string{"bind", "idmap"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := load(t, "full.json")
			spec.Mounts = []specs.Mount{m}
			if got := Spec(spec, &root); len(got) > 0 {
				t.Errorf("problems: %q", texts(got))
			}
		})
	}
}
