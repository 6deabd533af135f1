package apidiff

import (
	"os"
	"strings"
)

// everything says that all values are tried, in all versions: that takes many minutes.
var everything = strings.HasPrefix(os.Getenv("GANTRY_APIDIFF"), "all")

// values are tried for a property: wrong ones, empty ones, and those that a client would send.
func (s *Schema) values(path string) []any {
	var all []any
	switch s.Type {
	case "boolean":
		all = append(all, "text", true)
	case "integer":
		all = append(all, "text", 1, -1)
	case "string":
		all = append(all, true, "text")
	default:
		all = append(all, true)
	}
	if everything {
		all = append(all, empty[s.Type]...)
	}
	all = append(all, s.Enum...)
	if right := s.right(0); right != nil {
		all = append(all, right)
	}
	return append(all, sensible[path]...)
}

// empty are what mostly means the same as no value, and what is as wrong as another.
var empty = map[string][]any{
	"boolean": {nil, false}, "integer": {nil, 1.5, 0}, "string": {nil, ""}, "array": {nil, list{}, list{1}, "text"},
	"object": {nil, object{}, list{}, "text"}, "": {nil, object{}, list{}, "text"},
}

// right is a value as the schema would have it, from its examples where it has them; nil for none.
func (s *Schema) right(depth int) any {
	switch {
	case s == nil || depth > 4:
		return nil
	case s.Example != nil:
		return s.Example
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == "array":
		if v := s.Items.right(depth + 1); v != nil {
			return []any{v}
		}
		return nil
	case s.Type == "object" && len(s.Properties) > 0:
		object := map[string]any{}
		for name, p := range s.Properties {
			if v := p.right(depth + 1); v != nil {
				object[name] = v
			}
		}
		return object
	case s.Type == "boolean":
		return true
	case s.Type == "integer":
		return 1
	case s.Type == "string" && depth > 0:
		return "text"
	}
	return nil
}

type object = map[string]any

type list = []any

// sensible are values that clients send, by the path of the property, and some that must be refused.
var sensible = map[string][]any{
	"Cmd": {list{"echo", "a b"}, "echo a b"}, "Entrypoint": {list{"sh", "-c"}, list{""}, "sh -c"}, "Env": {list{"A=b", "C", "=x"}},
	"Healthcheck": {
		object{"Test": list{"NONE"}},
		object{"Test": list{"CMD", "true"}, "Interval": 1000000000, "Timeout": 1000000, "Retries": 3, "StartPeriod": 1},
		object{"Test": list{"CMD-SHELL", "true"}, "Interval": 1},
		object{"Test": list{"x"}},
		object{"Interval": -1},
		object{"StartInterval": 1000000000},
	},
	"User": {"0:0", "nobody", "nosuch"}, "WorkingDir": {"/tmp/..", "relative", "/a/b"}, "Hostname": {"h", "h.d"}, "Domainname": {"d"}, "StopSignal": {"SIGINT", "9", "NOTHING"}, "Shell": {list{"sh", "-e"}},
	"StopTimeout": {5}, "Labels": {object{"a": ""}}, "ExposedPorts": {object{"80/tcp": object{}, "81": object{}}, object{"x": object{}}}, "Volumes": {object{"/a": object{}, "/b/": object{}}, object{"relative": object{}}, object{"/": object{}}},
	"MacAddress": {"02:42:ac:11:00:02", "bad"}, "Image": {"nosuch:1", "busybox", "BAD"}, "Platform": {"linux/amd64"}, "NetworkDisabled": {true},
	"HostConfig.Binds":        {list{"VOLUME:/a"}, list{"/tmp:/a:ro"}, list{"VOLUME:/a:rw,z"}, list{"/tmp:/a:rshared"}, list{"/nosuch/x:/a"}, list{"a"}, list{"/a:/b:bad"}, list{"/tmp:/"}, list{"VOLUME:/a", "VOLUME:/a"}, list{"VOLUME:/a:nocopy"}, list{":/a"}, list{"../x:/a"}, list{"/tmp:relative"}},
	"HostConfig.Mounts":       mountValues,
	"HostConfig.NetworkMode":  {"host", "default", "none", "container:RUNNING", "container:nosuch", "nosuch", ""},
	"HostConfig.PidMode":      {"host", "container:RUNNING", "container:nosuch", "bad"},
	"HostConfig.IpcMode":      {"host", "private", "shareable", "none", "container:RUNNING", "container:nosuch", "bad"},
	"HostConfig.UTSMode":      {"host", "bad"},
	"HostConfig.UsernsMode":   {"host", "bad"},
	"HostConfig.CgroupnsMode": {"host", "private", "bad"},
	"HostConfig.Memory":       {67108864, 1048576, 6291455, 6291456},
	"HostConfig.MemorySwap":   {134217728}, "HostConfig.MemoryReservation": {33554432, 6291456}, "HostConfig.KernelMemory": {1}, "HostConfig.MemorySwappiness": {60, 101, -1},
	"HostConfig.OomScoreAdj": {500, 1001, -1001}, "HostConfig.NanoCpus": {500000000, 64000000000}, "HostConfig.CpuShares": {512, 2}, "HostConfig.CpuPeriod": {100000, 999, 1000001}, "HostConfig.CpuQuota": {50000, 999},
	"HostConfig.CpusetCpus": {"0", "0-1", "99", "x"}, "HostConfig.CpusetMems": {"0", "9"}, "HostConfig.PidsLimit": {100, -1, 0}, "HostConfig.BlkioWeight": {100, 9, 1001},
	"HostConfig.BlkioWeightDevice": {list{object{"Path": "/dev/null", "Weight": 100}}, list{object{"Path": "/nosuch", "Weight": 5}}},
	"HostConfig.Ulimits":           {list{object{"Name": "nofile", "Soft": 10, "Hard": 20}}, list{object{"Name": "nofile", "Soft": 30, "Hard": 20}}, list{object{"Name": "bad", "Soft": 1, "Hard": 1}}},
	"HostConfig.RestartPolicy":     {object{"Name": "no"}, object{"Name": "always"}, object{"Name": "always", "MaximumRetryCount": 1}, object{"Name": "unless-stopped"}, object{"Name": "on-failure", "MaximumRetryCount": 2}, object{"Name": "on-failure", "MaximumRetryCount": -1}, object{"Name": "bad"}, object{"Name": "", "MaximumRetryCount": 3}},
	"HostConfig.LogConfig":         {object{"Type": "json-file", "Config": object{"max-size": "1m", "max-file": "2"}}, object{"Type": "json-file", "Config": object{"max-size": "x"}}, object{"Type": "json-file", "Config": object{"bad": "x"}}, object{"Type": "none"}, object{"Type": "local"}, object{"Type": "nosuch"}, object{"Config": object{"labels": "a"}}, object{"Config": object{"mode": "non-blocking", "max-buffer-size": "1m"}}, object{"Config": object{"max-file": "2"}}},
	"HostConfig.PortBindings":      {object{"80/tcp": list{object{"HostPort": "8080"}}}, object{"80/tcp": list{object{"HostIp": "127.0.0.1", "HostPort": ""}}}, object{"80": nil}, object{"80/tcp": list{object{"HostPort": "x"}}}, object{"x/tcp": list{}}, object{"80/tcp": list{object{"HostIp": "bad", "HostPort": "1"}}}},
	"HostConfig.Devices":           {list{object{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}}, list{object{"PathOnHost": "/dev/null"}}, list{object{"PathOnHost": "/nosuch"}}},
	"HostConfig.DeviceCgroupRules": {list{"c 1:3 rwm"}, list{"bad"}}, "HostConfig.DeviceRequests": {list{object{"Driver": "nosuch", "Count": 1}}, list{object{"Capabilities": list{list{"gpu"}}}}},
	"HostConfig.SecurityOpt": {list{"no-new-privileges"}, list{"no-new-privileges:false"}, list{"seccomp=unconfined"}, list{"seccomp={bad"}, list{"apparmor=unconfined"}, list{"label=disable"}, list{"bad"}, list{"bad=x"}, list{"systempaths=unconfined"}},
	"HostConfig.CapAdd":      {list{"NET_ADMIN"}, list{"cap_sys_time", "ALL"}, list{"BAD"}}, "HostConfig.CapDrop": {list{"ALL"}, list{"chown"}, list{"BAD"}},
	"HostConfig.Tmpfs":   {object{"/t": "size=1m,mode=700"}, object{"/t": ""}, object{"/t": "bad"}, object{"relative": ""}, object{"/": ""}},
	"HostConfig.Sysctls": {object{"net.ipv4.ip_forward": "1"}, object{"kernel.shm_rmid_forced": "1"}, object{"bad": "1"}},
	"HostConfig.Links":   {list{"RUNNING:alias"}, list{"nosuch:alias"}, list{"RUNNING"}}, "HostConfig.VolumesFrom": {list{"STOPPED"}, list{"STOPPED:ro"}, list{"nosuch"}, list{"STOPPED:bad"}},
	"HostConfig.GroupAdd": {list{"0", "audio"}}, "HostConfig.Dns": {list{"1.1.1.1"}, list{"bad"}}, "HostConfig.DnsOptions": {list{"ndots:1"}}, "HostConfig.DnsSearch": {list{"example.com"}}, "HostConfig.ExtraHosts": {list{"a:1.2.3.4"}, list{"a:host-gateway"}, list{"bad"}, list{"a:bad"}},
	"HostConfig.Runtime": {"runc", "io.containerd.runc.v2", "nosuch"}, "HostConfig.Isolation": {"default", "process", "bad"}, "HostConfig.ShmSize": {67108864}, "HostConfig.CgroupParent": {"/x", "x/../y"}, "HostConfig.Cgroup": {"container:RUNNING", "bad"},
	"HostConfig.AutoRemove": {true}, "HostConfig.VolumeDriver": {"local", "nosuch"}, "HostConfig.StorageOpt": {object{"size": "1G"}, object{"bad": "1"}}, "HostConfig.ConsoleSize": {list{24, 80}, list{1}}, "HostConfig.Annotations": {object{"a": "b"}, object{"": "b"}},
	"HostConfig.MaskedPaths": {list{"/proc/x"}}, "HostConfig.ReadonlyPaths": {list{"/proc/x"}}, "HostConfig.CpuRealtimePeriod": {1000000}, "HostConfig.CpuRealtimeRuntime": {950000}, "HostConfig.CpuCount": {1}, "HostConfig.CpuPercent": {50}, "HostConfig.IOMaximumIOps": {1},
	"NetworkingConfig": {object{"EndpointsConfig": object{"none": object{}}}, object{"EndpointsConfig": object{}}, object{"EndpointsConfig": object{"nosuch": object{}}}},
	// of updates
	"Memory": {67108864, 1}, "MemorySwap": {-1, 134217728}, "MemoryReservation": {33554432}, "CpuShares": {512, 1}, "CpuQuota": {50000}, "CpuPeriod": {100000}, "CpusetCpus": {"0", "99", "x"}, "CpusetMems": {"0"}, "NanoCpus": {500000000}, "PidsLimit": {100}, "BlkioWeight": {100, 5},
	"RestartPolicy": {object{"Name": "always"}, object{"Name": "bad"}, object{"Name": "no"}},
	// of execs
	"Privileged": {true}, "DetachKeys": {"ctrl-a", "ctrl-nothing"}, "ConsoleSize": {list{24, 80}, list{1}},
	// of volumes
	"Name": {"fresh1", "a/b", "b c", ".x", "a"}, "Driver": {"local", "nosuch"}, "DriverOpts": {object{"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, object{"bad": "x"}, object{"type": "x"}},
	"ClusterVolumeSpec": {object{}},
}

var mountValues = []any{
	list{object{"Type": "volume", "Source": "VOLUME", "Target": "/m"}},
	list{object{"Type": "volume", "Target": "/m"}},
	list{object{"Type": "bind", "Source": "/tmp", "Target": "/m", "ReadOnly": true}},
	list{object{"Type": "bind", "Source": "/nosuch", "Target": "/m"}},
	list{object{"Type": "bind", "Source": "relative", "Target": "/m"}},
	list{object{"Type": "tmpfs", "Target": "/m", "TmpfsOptions": object{"SizeBytes": 1024, "Mode": 448}}},
	list{object{"Type": "tmpfs", "Source": "x", "Target": "/m"}},
	list{object{"Type": "bad", "Target": "/m"}},
	list{object{"Target": "/m"}},
	list{object{"Type": "volume", "Source": "VOLUME"}},
	list{object{"Type": "volume", "Source": "VOLUME", "Target": "/"}},
	list{object{"Type": "bind", "Source": "/tmp", "Target": "/m", "BindOptions": object{"Propagation": "rslave", "NonRecursive": true, "CreateMountpoint": true}}},
	list{object{"Type": "bind", "Source": "/tmp", "Target": "/m", "BindOptions": object{"Propagation": "bad"}}},
	list{object{"Type": "volume", "Source": "VOLUME", "Target": "/m", "VolumeOptions": object{"NoCopy": true, "Labels": object{"a": "b"}, "DriverConfig": object{"Name": "local"}, "Subpath": "s"}}},
	list{object{"Type": "volume", "Source": "VOLUME", "Target": "/m", "BindOptions": object{}}},
	list{object{"Type": "image", "Source": "kept:1", "Target": "/m"}},
	list{object{"Type": "image", "Source": "nosuch", "Target": "/m"}},
	list{object{"Type": "image", "Target": "/m"}},
	list{object{"Type": "image", "Source": "kept:1", "Target": "/m", "ImageOptions": object{"Subpath": "etc"}}},
	list{object{"Type": "npipe", "Source": "x", "Target": "/m"}},
	list{object{"Type": "cluster", "Source": "x", "Target": "/m"}},
	list{object{"Type": "bind", "Source": "/tmp", "Target": "/m", "ReadOnly": true, "BindOptions": object{"ReadOnlyNonRecursive": true}}},
	list{object{"Type": "bind", "Source": "/tmp", "Target": "/m", "BindOptions": object{"ReadOnlyForceRecursive": true}}},
	list{object{"Type": "volume", "Source": "VOLUME", "Target": "/m", "Consistency": "cached"}},
	list{object{"Type": "volume", "Source": "VOLUME", "Target": "/m"}, object{"Type": "tmpfs", "Target": "/m"}},
}
