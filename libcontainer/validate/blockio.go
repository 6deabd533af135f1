package validate

import "github.com/opencontainers/runtime-spec/specs-go"

func (c *checker) blockIO(b *specs.LinuxBlockIO) {
	const path = "linux.resources.blockIO"
	c.add(path+".weight", refBlockIO, weightRule(b.Weight))
	c.add(path+".leafWeight", refBlockIO, weightRule(b.LeafWeight))
	for i := range b.WeightDevice {
		d := &b.WeightDevice[i]
		c.blockDevice(path+".weightDevice", i, &d.LinuxBlockIODevice)
		if d.Weight == nil && d.LeafWeight == nil {
			c.addAt(path+".weightDevice", i, "", refBlockIO, "must have weight or leafWeight")
		}
		c.addAt(path+".weightDevice", i, ".weight", refBlockIO, weightRule(d.Weight))
		c.addAt(path+".weightDevice", i, ".leafWeight", refBlockIO, weightRule(d.LeafWeight))
	}
	c.throttle(path+".throttleReadBpsDevice", b.ThrottleReadBpsDevice)
	c.throttle(path+".throttleWriteBpsDevice", b.ThrottleWriteBpsDevice)
	c.throttle(path+".throttleReadIOPSDevice", b.ThrottleReadIOPSDevice)
	c.throttle(path+".throttleWriteIOPSDevice", b.ThrottleWriteIOPSDevice)
}

func (c *checker) throttle(path string, list []specs.LinuxThrottleDevice) {
	for i := range list {
		c.blockDevice(path, i, &list[i].LinuxBlockIODevice)
	}
}

func (c *checker) blockDevice(path string, i int, d *specs.LinuxBlockIODevice) {
	c.addAt(path, i, ".major", refBlockIO, numberRule(d.Major, maxMajor))
	c.addAt(path, i, ".minor", refBlockIO, numberRule(d.Minor, maxMinor))
}

// weightRule takes the range of the blkio controller; engines write 0 for "not set".
func weightRule(w *uint16) string {
	if w == nil || *w == 0 || *w >= 10 && *w <= 1000 {
		return ""
	}
	return intRule(int64(*w), "from 10 to 1000, or 0 for the default")
}
