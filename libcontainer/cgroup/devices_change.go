package cgroup

import (
	"errors"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

const allDevices = "a *:* rwm"

// ChangeDevices replaces the rules of a container that runs. Its processes never miss a
// device that both the old and the new rules allow. On an error the old rules are in force;
// of a v1 cgroup that allowed all but some, as few as could be denied. Unlike SetDevices it lets nobody off: the caller asked for a change.
func (s *Set) ChangeDevices(rules []plan.DeviceRule) error {
	allow, exceptions, err := splitRules(rules)
	if err != nil {
		return err
	}
	switch v1, v2 := s.v1("devices"), s.v2(); {
	case v1 != nil:
		return s.changeDevicesV1(v1, allow, exceptions)
	case v2 != nil:
		return v2.setDevicesV2(allow, exceptions)
	}
	return ErrNoDevices
}

// changeDevicesV1 goes from the rules in the kernel to others. Where both deny by default,
// what is new is allowed first, and then what is no longer allowed is taken away. Otherwise
// the list has to be built anew, and the container stands still meanwhile.
func (s *Set) changeDevicesV1(g *group, allow bool, exceptions []plan.DeviceRule) error {
	list, err := readFile(g.dir, "devices.list")
	if err != nil {
		return err
	}
	if list == allDevices {
		// What is denied of all is not to be read: there is no way back from here.
		return s.frozenWhile(func() error { return g.setDevicesV1(allow, exceptions) })
	}
	old, err := parseDeviceList(list)
	if err != nil {
		return err
	}
	if allow {
		return s.frozenWhile(func() error {
			if err := g.setDevicesV1(true, exceptions); err != nil {
				return errors.Join(err, g.setDevicesV1(false, old))
			}
			return nil
		})
	}
	if err := g.allowAndDeny(old, exceptions); err != nil {
		return errors.Join(err, g.allowAndDeny(exceptions, old))
	}
	return nil
}

// allowAndDeny goes from one list of allowed devices to another. The kernel adds to, and
// takes from, exactly the entry for the same devices (security/device_cgroup.c).
func (g *group) allowAndDeny(from, to []plan.DeviceRule) error {
	for i := range to {
		if more, ok := beyond(&to[i], from); ok {
			if err := writeFile(g.dir, "devices.allow", more.V1()); err != nil {
				return err
			}
		}
	}
	for i := range from {
		if less, ok := beyond(&from[i], to); ok {
			if err := writeFile(g.dir, "devices.deny", less.V1()); err != nil {
				return err
			}
		}
	}
	return nil
}

// beyond is what a rule allows more than the one of a list for the same devices.
func beyond(r *plan.DeviceRule, list []plan.DeviceRule) (plan.DeviceRule, bool) {
	more := *r
	for i := range list {
		o := &list[i]
		if o.Type == r.Type && o.Major == r.Major && o.Minor == r.Minor {
			more.Access = strings.Map(func(letter rune) rune {
				if strings.ContainsRune(o.Access, letter) {
					return -1
				}
				return letter
			}, more.Access)
		}
	}
	return more, more.Access != ""
}

// frozenWhile calls f while the container's processes stand still, if there is a freezer.
func (s *Set) frozenWhile(f func() error) error {
	if paused, err := s.State(); paused || err != nil || s.Freeze() != nil {
		return f()
	}
	return errors.Join(f(), s.Thaw())
}

// parseDeviceList reads devices.list of a cgroup that denies by default.
func parseDeviceList(list string) ([]plan.DeviceRule, error) {
	var rules []plan.DeviceRule
	for line := range strings.Lines(list) {
		f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ':' || r == '\n' })
		if len(f) != 4 || f[0] != "b" && f[0] != "c" {
			return nil, errors.New("devices.list has an unknown line " + strconv.Quote(line))
		}
		r := plan.DeviceRule{Allow: true, Type: f[0][0], Access: f[3]}
		for i, to := range []*int64{&r.Major, &r.Minor} {
			*to = -1
			if word := f[i+1]; word != "*" {
				n, err := strconv.ParseUint(word, 10, 32)
				if err != nil {
					return nil, errors.New("devices.list has an unknown line " + strconv.Quote(line))
				}
				*to = int64(n)
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}
