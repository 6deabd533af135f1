package plan

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// The weights that config-linux.md allows.
const minBlockWeight, maxBlockWeight = 10, 1000

// blockIO compiles linux.resources.blockIO.
func (l *limits) blockIO(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	if weight := orZero(b.Weight); weight != 0 {
		// On both versions package cgroup takes the file of the I/O scheduler that the
		// kernel has; the names here are the ones that it starts from.
		l.blockWeight("blockIO.weight", "", weight, [2]string{"blkio.weight", "io.bfq.weight"})
	}
	if weight := orZero(b.LeafWeight); weight != 0 {
		l.blockWeight("blockIO.leafWeight", "", weight, [2]string{"blkio.leaf_weight", ""})
	}
	for i := range b.WeightDevice {
		l.weightDevice(element("blockIO.weightDevice", i), &b.WeightDevice[i])
	}
	l.throttle("blockIO.throttleReadBpsDevice", b.ThrottleReadBpsDevice, "blkio.throttle.read_bps_device", "rbps")
	l.throttle("blockIO.throttleWriteBpsDevice", b.ThrottleWriteBpsDevice, "blkio.throttle.write_bps_device", "wbps")
	l.throttle("blockIO.throttleReadIOPSDevice", b.ThrottleReadIOPSDevice, "blkio.throttle.read_iops_device", "riops")
	l.throttle("blockIO.throttleWriteIOPSDevice", b.ThrottleWriteIOPSDevice, "blkio.throttle.write_iops_device", "wiops")
}

func (l *limits) weightDevice(field string, d *specs.LinuxWeightDevice) {
	device, ok := l.blockDevice(field, &d.LinuxBlockIODevice)
	if !ok {
		return
	}
	if weight := orZero(d.Weight); weight != 0 {
		l.blockWeight(field+".weight", device+" ", weight, [2]string{"blkio.weight_device", "io.bfq.weight"})
	}
	if weight := orZero(d.LeafWeight); weight != 0 {
		l.blockWeight(field+".leafWeight", device+" ", weight, [2]string{"blkio.leaf_weight_device", ""})
	}
}

// blockWeight writes a weight, after the device it is for, to the v1 or v2 file;
// an empty name says that v2 has none.
func (l *limits) blockWeight(field, device string, weight uint16, files [2]string) {
	h := l.blockHierarchy(field)
	if h == nil {
		return
	}
	if weight < minBlockWeight || weight > maxBlockWeight {
		l.refuse(field, "not in the range from 10 to 1000")
		return
	}
	file := files[0]
	if h.Unified() {
		file = files[1]
	}
	if file == "" {
		l.noV2(field)
		return
	}
	l.put(h, field, file, device+strconv.FormatUint(uint64(weight), 10))
}

// throttle writes one kind of rate limits: on v1 to a file per kind, on v2 all to
// io.max under a key per kind. Rate 0 lifts the limit.
func (l *limits) throttle(field string, devices []specs.LinuxThrottleDevice, file, key string) {
	for i := range devices {
		d := &devices[i]
		name := element(field, i)
		h := l.blockHierarchy(name)
		device, ok := l.blockDevice(name, &d.LinuxBlockIODevice)
		if h == nil || !ok {
			return
		}
		rate := strconv.FormatUint(d.Rate, 10)
		if !h.Unified() {
			l.put(h, name, file, device+" "+rate)
			continue
		}
		if d.Rate == 0 {
			rate = "max"
		}
		l.put(h, name, "io.max", device+" "+key+"="+rate)
	}
}

// blockHierarchy finds the controller of block devices, which changed its name.
func (l *limits) blockHierarchy(field string) *host.Hierarchy {
	if h := l.cgroup.Find("blkio"); h != nil {
		return h
	}
	if l.cgroup.Mode != host.CgroupV2 && l.cgroup.Find("io") == nil {
		return l.find("blkio", field)
	}
	return l.find("io", field)
}

// blockDevice renders a device number, "MAJOR:MINOR".
func (l *limits) blockDevice(field string, d *specs.LinuxBlockIODevice) (string, bool) {
	if d.Major < 0 || d.Minor < 0 {
		l.refuse(field, "a device number can't be negative")
		return "", false
	}
	return strconv.FormatInt(d.Major, 10) + ":" + strconv.FormatInt(d.Minor, 10), true
}
