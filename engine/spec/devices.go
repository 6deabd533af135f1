package spec

import (
	"fmt"
	"regexp"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// devices are those that the container gets beside the runtime's own, and what it may do with which.
func devices(in *Input, s *specs.Spec) error {
	hc := in.Container.HostConfig
	rules := deviceRules()
	s.Linux.Devices = []specs.LinuxDevice{}
	if hc.Privileged {
		all, err := in.Machine.Devices()
		if err != nil {
			return err
		}
		s.Linux.Devices = append(s.Linux.Devices, all...)
		// After the default rules: it overrules them.
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"})
	}
	for _, d := range hc.Devices {
		if hc.Privileged && d.PathOnHost == d.PathInContainer {
			continue
		}
		at, err := in.Machine.DevicesAt(d.PathOnHost, d.PathInContainer)
		if err != nil {
			return err
		}
		s.Linux.Devices = append(s.Linux.Devices, at...)
		if hc.Privileged {
			continue
		}
		for _, one := range at {
			rules = append(rules, specs.LinuxDeviceCgroup{
				Allow: true, Type: one.Type, Major: new(one.Major), Minor: new(one.Minor), Access: d.CgroupPermissions,
			})
		}
	}
	if !hc.Privileged {
		more, err := cgroupRules(hc.DeviceCgroupRules)
		if err != nil {
			return err
		}
		rules = append(rules, more...)
	}
	s.Linux.Resources.Devices = rules
	return nil
}

// ruleFormat is that of the devices cgroup of v1: "c 1:3 rwm".
var ruleFormat = regexp.MustCompile(`^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$`)

func cgroupRules(written []string) ([]specs.LinuxDeviceCgroup, error) {
	var rules []specs.LinuxDeviceCgroup
	for _, w := range written {
		m := ruleFormat.FindStringSubmatch(w)
		if m == nil {
			return nil, fmt.Errorf("invalid device cgroup rule format: '%s'", w)
		}
		major, ok := ruleNumber(m[2])
		if !ok {
			return nil, fmt.Errorf("invalid major value in device cgroup rule format: '%s'", w)
		}
		minor, ok := ruleNumber(m[3])
		if !ok {
			return nil, fmt.Errorf("invalid minor value in device cgroup rule format: '%s'", w)
		}
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: m[1], Major: &major, Minor: &minor, Access: m[4]})
	}
	return rules, nil
}

// ruleNumber reads a number, or a star for any.
func ruleNumber(s string) (int64, bool) {
	if s == "*" {
		return -1, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
