package plan

import (
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const devicesField = "linux.resources.devices"

// deviceAny stands for every major or minor number.
const deviceAny = -1

// accessAll is every access to a device: read, write, mknod.
const accessAll = "rwm"

// allowedDevice is what runc allows every container, whatever config.json says. One
// with a path gives way to an entry of linux.devices for that path: the rules for
// such a device are then the author's.
type allowedDevice struct {
	path string
	rule DeviceRule
}

// alwaysAllowed returns runc's list: to make any device node (which gives no access
// to the device), the devices of config-linux.md "Default Devices", pseudo terminals
// and /dev/net/tun.
func alwaysAllowed() [11]allowedDevice {
	char := func(major, minor int64, access string) DeviceRule {
		return DeviceRule{Allow: true, Type: 'c', Major: major, Minor: minor, Access: access}
	}
	return [...]allowedDevice{
		{"", DeviceRule{Allow: true, Type: 'b', Major: deviceAny, Minor: deviceAny, Access: "m"}},
		{"", char(deviceAny, deviceAny, "m")},
		{"/dev/null", char(1, 3, accessAll)},
		{"/dev/zero", char(1, 5, accessAll)},
		{"/dev/full", char(1, 7, accessAll)},
		{"/dev/random", char(1, 8, accessAll)},
		{"/dev/urandom", char(1, 9, accessAll)},
		{"/dev/tty", char(5, 0, accessAll)},
		{"", char(5, 2, accessAll)},           // /dev/ptmx
		{"", char(10, 200, accessAll)},        // /dev/net/tun
		{"", char(136, deviceAny, accessAll)}, // /dev/pts/*
	}
}

// deviceRules compiles the rules for access to devices: all denied at the start,
// then linux.resources.devices in order, then runc's defaults. Entries of
// linux.devices get no rule, as with runc.
//
// What comes out is one rule for all devices and exceptions from it that don't
// depend on their order, the form that both versions of cgroups can hold.
func deviceRules(spec *specs.Spec) ([]DeviceRule, error) {
	var set ruleSet
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	if linux.Resources != nil {
		for i := range linux.Resources.Devices {
			field := devicesField + "[" + strconv.Itoa(i) + "]"
			if err := set.applyConfigured(field, &linux.Resources.Devices[i]); err != nil {
				return nil, err
			}
		}
	}
	defaults := alwaysAllowed()
	for i := range defaults {
		if d := &defaults[i]; !configured(linux.Devices, d.path) {
			if err := set.apply(&d.rule); err != nil {
				return nil, &Problem{devicesField, err.Error()}
			}
		}
	}
	return set.rules(), nil
}

// applyConfigured adds one rule of config.json.
func (s *ruleSet) applyConfigured(field string, d *specs.LinuxDeviceCgroup) error {
	rules, err := parseDeviceRule(field, d)
	if err != nil {
		return err
	}
	for i := range rules {
		if err := s.apply(&rules[i]); err != nil {
			return &Problem{field, err.Error()}
		}
	}
	return nil
}

// configured reports whether linux.devices has an entry for the path.
func configured(devices []specs.LinuxDevice, path string) bool {
	for i := range devices {
		if path != "" && devices[i].Path == path {
			return true
		}
	}
	return false
}

// parseDeviceRule translates one rule of config.json. A rule for both types that is
// not for all devices becomes one for each: the kernel would read "a 1:3 r" as
// everything.
func parseDeviceRule(field string, d *specs.LinuxDeviceCgroup) ([]DeviceRule, error) {
	rule := DeviceRule{Allow: d.Allow, Type: 'a', Access: sortedAccess(d.Access)}
	var ok bool
	switch {
	case d.Access == "":
		return nil, &Problem{field + ".access", "missing"}
	case rule.Access == "":
		return nil, &Problem{field + ".access", strconv.Quote(d.Access) + " has other letters than r, w and m"}
	}
	if rule.Major, ok = ruleNumber(d.Major); !ok {
		return nil, &Problem{field + ".major", "no device has such a number"}
	}
	if rule.Minor, ok = ruleNumber(d.Minor); !ok {
		return nil, &Problem{field + ".minor", "no device has such a number"}
	}
	switch d.Type {
	case "b", "c":
		rule.Type = d.Type[0]
	case "", "a":
		if rule.Major != deviceAny || rule.Minor != deviceAny || rule.Access != accessAll {
			block, char := rule, rule
			block.Type, char.Type = 'b', 'c'
			return []DeviceRule{block, char}, nil
		}
	default:
		return nil, &Problem{field + ".type", strconv.Quote(d.Type) + " is none of a, b and c"}
	}
	return []DeviceRule{rule}, nil
}

// ruleNumber reads a major or minor number; missing is any.
func ruleNumber(n *int64) (int64, bool) {
	if n == nil {
		return deviceAny, true
	}
	return *n, *n >= deviceAny && *n <= math.MaxUint32
}

// sortedAccess brings the letters of an access into the order "rwm", each once. It is
// empty when there are others, but for an a, which says nothing.
func sortedAccess(access string) string {
	if strings.Trim(access, accessAll+"a") != "" {
		return ""
	}
	return keepAccess(accessAll, func(letter string) bool { return strings.Contains(access, letter) })
}

// keepAccess returns the letters of access that keep wants.
func keepAccess(access string, keep func(letter string) bool) string {
	return strings.Map(func(letter rune) rune {
		if keep(string(letter)) {
			return letter
		}
		return -1
	}, access)
}
