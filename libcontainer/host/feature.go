package host

import "strconv"

// Feature is something that Linux got after the oldest supported kernel. Each has a way
// around it, or is refused where config.json asks for it; docs/kernels.md lists both.
type Feature struct {
	Name  string // as the kernel's manual pages have it
	Since Version
}

// The features that are decided or explained here, by age.
var (
	OverlayInUserNS    = Feature{"overlay in a user namespace", Version{5, 11}}
	MountSetattr       = Feature{"mount_setattr(2)", Version{5, 12}}
	NUMABalancing      = Feature{"MPOL_F_NUMA_BALANCING", Version{5, 12}}
	NoSymFollow        = Feature{"MOUNT_ATTR_NOSYMFOLLOW", Version{5, 14}}
	PreferredMany      = Feature{"MPOL_PREFERRED_MANY", Version{5, 15}}
	WaitKillable       = Feature{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", Version{5, 19}}
	WeightedInterleave = Feature{"MPOL_WEIGHTED_INTERLEAVE", Version{6, 9}}
)

// cgroupFiles are files of cgroups that config.json can ask for, cgroup-v2.rst.
var cgroupFiles = map[string]Version{
	"misc.max":               {5, 13},
	"cpu.max.burst":          {5, 14},
	"cpu.cfs_burst_us":       {5, 14},
	"cpu.idle":               {5, 15},
	"memory.reclaim":         {5, 19},
	"memory.zswap.max":       {5, 19},
	"cgroup.pressure":        {6, 1},
	"cpuset.cpus.exclusive":  {6, 7},
	"memory.zswap.writeback": {6, 8},
}

// CgroupFile tells since when cgroups have a file, for one that is missing; a file as old as
// the oldest supported kernel is unknown here.
func CgroupFile(name string) (x Feature, known bool) {
	since, known := cgroupFiles[name]
	return Feature{name, since}, known
}

// Needed says so, for an error.
func (x Feature) Needed() string {
	return x.Name + " needs Linux " + strconv.Itoa(x.Since.Major) + "." + strconv.Itoa(x.Since.Minor)
}

// Lacks reports whether the kernel is older than the feature.
func (f *Facts) Lacks(x Feature) bool { return !f.Kernel.AtLeast(x.Since.Major, x.Since.Minor) }
