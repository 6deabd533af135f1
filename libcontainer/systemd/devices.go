package systemd

import (
	"os"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// DeviceProperties says device rules in systemd's words, systemd.resource-control(5): what
// is allowed, by the numbers of one device or by the name of a group. Rules that allow all
// and deny exceptions can't be said; such a container is left to its own rules.
func DeviceProperties(rules []plan.DeviceRule) ([]plan.Property, error) {
	if len(rules) > 0 && rules[0].Type == 'a' && rules[0].Allow {
		return []plan.Property{{Name: "DevicePolicy", Value: gvariant.String("auto")}}, nil
	}
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return nil, err
	}
	return strictDevices(rules, string(text)), nil
}

func strictDevices(rules []plan.DeviceRule, devices string) []plan.Property {
	allowed := gvariant.Array("(ss)")
	for i := range rules {
		if name := deviceName(&rules[i], devices); name != "" && rules[i].Allow {
			allowed.Items = append(allowed.Items, gvariant.Struct(gvariant.String(name), gvariant.String(rules[i].Access)))
		}
	}
	return []plan.Property{
		{Name: "DevicePolicy", Value: gvariant.String("strict")},
		{Name: "DeviceAllow", Value: allowed},
	}
}

// deviceName is what systemd calls the devices of a rule, or "" when it has no name for them.
func deviceName(r *plan.DeviceRule, devices string) string {
	kind := map[byte]string{'c': "char", 'b': "block"}[r.Type]
	switch {
	case kind == "":
		return ""
	case r.Major >= 0 && r.Minor >= 0:
		return "/dev/" + kind + "/" + strconv.FormatInt(r.Major, 10) + ":" + strconv.FormatInt(r.Minor, 10)
	case r.Major >= 0:
		if group := deviceGroup(devices, kind, r.Major); group != "" {
			return kind + "-" + group
		}
		return ""
	case r.Minor < 0:
		return kind + "-*"
	}
	return ""
}

// deviceGroup finds a driver by its major number in /proc/devices.
func deviceGroup(devices, kind string, major int64) string {
	section := ""
	for line := range strings.Lines(devices) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if f[1] == "devices:" { // "Character devices:", "Block devices:"
			section = strings.ToLower(f[0])
			continue
		}
		if strings.HasPrefix(section, kind) && f[0] == strconv.FormatInt(major, 10) {
			return f[1]
		}
	}
	return ""
}
