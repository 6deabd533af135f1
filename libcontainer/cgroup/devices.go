package cgroup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// ErrNoDevices says that neither the v1 devices controller nor a v2 cgroup is
// there to guard the container's access to devices.
var ErrNoDevices = errors.New("no cgroup can restrict the container's devices")

// ErrRuleOrder says that device rules are not in the form that package plan
// compiles them to: first one for all devices, then only exceptions from it.
var ErrRuleOrder = errors.New("device rules are not one default and its exceptions")

// SetDevices puts the rules in force, in place of earlier ones: through the v1
// devices controller, or a program on the v2 cgroup. No rules is deny all. On v1,
// setting rules again denies everything for a moment.
//
// A caller without rights over devices (not root, or root of a user namespace
// only) is let off when the kernel refuses: such a container can't make device
// nodes and keeps the restrictions of its creator.
func (s *Set) SetDevices(rules []plan.DeviceRule) error {
	allow, exceptions, err := splitRules(rules)
	if err != nil {
		return err
	}
	switch v1, v2 := s.v1("devices"), s.v2(); {
	case v1 != nil:
		err = v1.setDevicesV1(allow, exceptions)
	case v2 != nil:
		err = v2.setDevicesV2(allow, exceptions)
	default:
		err = ErrNoDevices
	}
	if err != nil && (err == ErrNoDevices || denied(err)) && unprivileged() {
		return nil
	}
	return err
}

// splitRules separates the default from its exceptions.
func splitRules(rules []plan.DeviceRule) (allow bool, exceptions []plan.DeviceRule, err error) {
	exceptions = rules
	if len(rules) > 0 && rules[0].Type == 'a' {
		allow, exceptions = rules[0].Allow, rules[1:]
	}
	for i := range exceptions {
		if r := &exceptions[i]; r.Allow == allow || r.Type != 'b' && r.Type != 'c' {
			return false, nil, ErrRuleOrder
		}
	}
	return allow, exceptions, nil
}

// setDevicesV1 writes the rules, one write(2) each,
// Documentation/admin-guide/cgroup-v1/devices.rst.
func (g *group) setDevicesV1(allow bool, exceptions []plan.DeviceRule) error {
	const allowFile, denyFile = "devices.allow", "devices.deny"
	first, second := denyFile, allowFile
	if allow {
		first, second = allowFile, denyFile
	}
	if err := writeFile(g.dir, first, "a *:* rwm"); err != nil {
		return err
	}
	if len(exceptions) == 0 {
		return nil
	}
	path := g.dir + "/" + second
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for i := range exceptions {
		if err := writeFD(fd, path, exceptions[i].V1()); err != nil {
			return err
		}
	}
	return nil
}

// unprivileged reports whether the caller lacks rights over the host's devices by
// its very identity: another user than root, or a user namespace of its own.
func unprivileged() bool {
	if unix.Geteuid() != 0 {
		return true
	}
	// The initial user namespace maps every id to itself, user_namespaces(7).
	mapping, err := readFile("/proc/self", "uid_map")
	return err == nil && !wholeIdentity(mapping)
}

// wholeIdentity reports whether a uid_map is that of the initial user namespace.
func wholeIdentity(mapping string) bool {
	want := [...]string{"0", "0", "4294967295"}
	fields := strings.Fields(mapping)
	if len(fields) != len(want) {
		return false
	}
	for i := range want {
		if fields[i] != want[i] {
			return false
		}
	}
	return true
}
