package sandbox

import (
	"path"
	"strings"

	"github.com/gantry-containers/gantry/shim/api/cri"
)

// The values of the CRI's NamespaceMode that differ for a pod: CONTAINER and TARGET are for containers.
const (
	modePod  = 0
	modeNode = 2
)

// fromCRI translates the pod's configuration as containerd's own controller does. The pid namespace is new even where
// containers have their own: the pause process shall not see the host's.
func (w *wishes) fromCRI(config *cri.PodSandboxConfig, id string) {
	l := config.GetLinux()
	w.Hostname = config.GetHostname()
	w.Linux.Sysctl = l.GetSysctls()
	if parent := l.GetCgroupParent(); parent != "" {
		w.Linux.CgroupsPath, w.parentCgroup = cgroupBelow(parent, id), true
	}
	w.setNamespace("network", "")
	options := l.GetSecurityContext().GetNamespaceOptions()
	if options.GetNetwork() == modeNode {
		w.dropNamespace("network")
		w.dropNamespace("uts")
		w.Hostname = ""
	}
	if options.GetIpc() == modeNode {
		w.dropNamespace("ipc")
	}
	if options.GetPid() == modeNode {
		w.dropNamespace("pid")
	}
	if users := options.GetUsernsOptions(); users != nil && users.GetMode() == modePod {
		w.setNamespace("user", "")
		w.Linux.UIDMappings = idMappings(users.GetUids())
		w.Linux.GIDMappings = idMappings(users.GetGids())
	}
}

func idMappings(from []*cri.IDMapping) []idMapping {
	to := make([]idMapping, 0, len(from))
	for _, m := range from {
		to = append(to, idMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return to
}

// cgroupBelow names a cgroup of the pause process's own below the pod's. A parent of systemd's is given as the path of a
// slice, and the runtime then takes SLICE:PREFIX:NAME; the prefix is the CRI plugin's.
func cgroupBelow(parent, id string) string {
	if slice := path.Base(parent); strings.HasSuffix(slice, ".slice") {
		return slice + ":cri-containerd:" + id
	}
	return path.Join(parent, id)
}
