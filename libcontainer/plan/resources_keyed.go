package plan

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// hugepages compiles linux.resources.hugepageLimits to a limit on use and, where the
// kernel has it (Linux 5.7), on reservations.
func (l *limits) hugepages(list []specs.LinuxHugepageLimit) {
	for i := range list {
		field := element("hugepageLimits", i)
		// The size becomes part of a file name: it must not name any other file.
		if !isPageSize(list[i].Pagesize) {
			l.refuse(field+".pageSize", strconv.Quote(list[i].Pagesize)+" is not a number with KB, MB or GB")
			continue
		}
		h := l.find("hugetlb", field)
		if h == nil {
			continue
		}
		file, suffix := "hugetlb."+list[i].Pagesize, ".limit_in_bytes"
		if h.Unified() {
			suffix = ".max"
		}
		value := strconv.FormatUint(list[i].Limit, 10)
		l.put(h, field, file+suffix, value)
		l.try(h, field, file+".rsvd"+suffix, value)
	}
}

// isPageSize reports whether s has the form of "64KB", "2MB" or "1GB".
func isPageSize(s string) bool {
	n := len(s) - 2
	if n < 1 || s[n+1] != 'B' || s[n] != 'K' && s[n] != 'M' && s[n] != 'G' {
		return false
	}
	return strings.Trim(s[:n], "0123456789") == ""
}

// network compiles linux.resources.network; cgroup v2 left both controllers out.
func (l *limits) network(n *specs.LinuxNetwork) {
	if n == nil {
		return
	}
	if class := orZero(n.ClassID); class != 0 {
		const field = "network.classID"
		if h := l.find("net_cls", field); h != nil {
			l.put(h, field, "net_cls.classid", strconv.FormatUint(uint64(class), 10))
		}
	}
	for i := range n.Priorities {
		field := element("network.priorities", i)
		h := l.find("net_prio", field)
		if h == nil || !l.word(field+".name", n.Priorities[i].Name) {
			continue
		}
		value := n.Priorities[i].Name + " " + strconv.FormatUint(uint64(n.Priorities[i].Priority), 10)
		l.put(h, field, "net_prio.ifpriomap", value)
	}
}

// rdma compiles linux.resources.rdma, Documentation/admin-guide/cgroup-v1/rdma.rst; the
// file is the same in both versions.
func (l *limits) rdma(devices map[string]specs.LinuxRdma) {
	for _, device := range slices.Sorted(maps.Keys(devices)) {
		field := "rdma." + device
		value := device
		if n := devices[device].HcaHandles; n != nil {
			value += " hca_handle=" + strconv.FormatUint(uint64(*n), 10)
		}
		if n := devices[device].HcaObjects; n != nil {
			value += " hca_object=" + strconv.FormatUint(uint64(*n), 10)
		}
		if value == device {
			continue
		}
		h := l.find("rdma", field)
		if h == nil || !l.word(field, device) {
			continue
		}
		l.put(h, field, "rdma.max", value)
	}
}

// word refuses a name that would not be one word in a cgroup file.
func (l *limits) word(field, name string) bool {
	if name == "" || strings.ContainsAny(name, " \t\r\n\x00") {
		l.refuse(field, strconv.Quote(name)+" is not the name of a device")
		return false
	}
	return true
}

// unified compiles linux.resources.unified: files of the v2 cgroup and what to write
// there, a line at a time.
func (l *limits) unified(files map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(files)) {
		field := "unified." + file
		if l.cgroup.Mode != host.CgroupV2 {
			l.refuse("unified", "invalid configuration: cannot use unified on cgroup v1")
			return
		}
		controller, _, ok := strings.Cut(file, ".")
		switch {
		case strings.ContainsAny(file, "/\x00"):
			l.refuse("unified", strconv.Quote(file)+" must be a file name (no slashes)")
			continue
		case !ok || controller == "":
			l.refuse(field, "must be in the form CONTROLLER.PARAMETER")
			continue
		}
		h := l.unifiedHierarchy(controller, field)
		if h == nil {
			continue
		}
		for line := range strings.Lines(files[file]) {
			l.put(h, field, file, line)
		}
	}
}

// unifiedHierarchy returns the v2 hierarchy when it has the controller, or when the
// file is of the core ("cgroup.max.depth").
func (l *limits) unifiedHierarchy(controller, field string) *host.Hierarchy {
	if controller != "cgroup" {
		return l.find(controller, field)
	}
	for i := range l.cgroup.Hierarchies {
		if h := &l.cgroup.Hierarchies[i]; h.Unified() {
			return h
		}
	}
	return nil
}
