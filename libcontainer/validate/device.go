package validate

import (
	"io/fs"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The highest device numbers, linux/kdev_t.h.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// maxFileMode is permissions and type of a file, inode(7). The type is ignored, as in
// runc: the field type says it.
const maxFileMode fs.FileMode = 0o177777

func (c *checker) devices() {
	const path = "linux.devices"
	list := c.linux.Devices
	if len(list) == 0 {
		return
	}
	byPath := make(map[string]int, len(list))
	for i := range list {
		d := &list[i]
		c.addAt(path, i, ".path", refDevices, absoluteRule(d.Path))
		if first, ok := byPath[d.Path]; !ok {
			byPath[d.Path] = i
		} else if !sameNode(&list[first], d) {
			c.addAt(path, i, ".path", refDevices, "is "+quote(d.Path)+", which is another device in "+element(path, first))
		}
		switch d.Type {
		case "b", "c", "u":
			c.addAt(path, i, ".major", refDevices, numberRule(d.Major, maxMajor))
			c.addAt(path, i, ".minor", refDevices, numberRule(d.Minor, maxMinor))
		case "p":
		default:
			c.addAt(path, i, ".type", refDevices, oneOf(d.Type, "c, b, u, p"))
		}
		if m := d.FileMode; m != nil && *m > maxFileMode {
			c.addAt(path, i, ".fileMode", refDevices, "is 0"+strconv.FormatUint(uint64(*m), 8)+" in octal, must be at most 07777")
		}
	}
}

// sameNode reports whether both entries ask for the same device; the spec has nothing
// against saying that twice.
func sameNode(a, b *specs.LinuxDevice) bool {
	if a.Type == "p" && b.Type == "p" {
		return true
	}
	char := func(d *specs.LinuxDevice) bool { return d.Type == "c" || d.Type == "u" }
	return (a.Type == b.Type || char(a) && char(b)) && a.Major == b.Major && a.Minor == b.Minor
}

func numberRule(n, limit int64) string {
	if n >= 0 && n <= limit {
		return ""
	}
	return intRule(n, "from 0 to "+strconv.FormatInt(limit, 10))
}

// deviceRules checks linux.resources.devices.
func (c *checker) deviceRules(list []specs.LinuxDeviceCgroup) {
	const path = "linux.resources.devices"
	for i := range list {
		d := &list[i]
		switch d.Type {
		case "", "a", "b", "c":
		default:
			c.addAt(path, i, ".type", refDeviceRules, oneOf(d.Type, "a, b, c"))
		}
		c.addAt(path, i, ".major", refDeviceRules, wildcardRule(d.Major))
		c.addAt(path, i, ".minor", refDeviceRules, wildcardRule(d.Minor))
		c.addAt(path, i, ".access", refDeviceRules, accessRule(d.Access))
	}
}

// wildcardRule takes a device number of a rule; engines write -1 for "all".
func wildcardRule(n *int64) string {
	if n == nil || *n >= -1 && *n < 1<<32 {
		return ""
	}
	return intRule(*n, "from 0 to 4294967295, or -1 for all")
}

// accessRule lets an a among the others pass, as runc does: a rule of that type has been
// written "a *:* rwm" for so long that some write it in the wrong place.
func accessRule(access string) string {
	switch {
	case access == "":
		return "must not be empty"
	case strings.Trim(access, "arwm") != "", strings.Trim(access, "a") == "":
		return "is " + quote(access) + ", must be made of r, w and m"
	}
	return ""
}
