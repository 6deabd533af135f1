package plan

import (
	"errors"
	"strings"
)

// ruleSet is what rules in order come to: whether all devices are allowed, and the
// exceptions. The zero value denies everything.
type ruleSet struct {
	allow      bool
	exceptions []DeviceRule
}

// apply adds a rule that overrides the earlier ones. It fails when the rule takes a
// part out of a wider exception: the kernel's v1 devices controller can't hold that
// and ignores such a request in silence, which would leave open what the author
// believes closed.
func (s *ruleSet) apply(r *DeviceRule) error {
	if r.Type == 'a' {
		s.allow, s.exceptions = r.Allow, nil
		return nil
	}
	if r.Allow != s.allow {
		s.except(r)
		return nil
	}
	kept := make([]DeviceRule, 0, len(s.exceptions))
	for i := range s.exceptions {
		e := s.exceptions[i]
		touched := keepAccess(e.Access, func(letter string) bool { return strings.Contains(r.Access, letter) })
		if touched != "" && rulesOverlap(r, &e) {
			if !ruleCovers(r, &e) {
				return errors.New("cannot punch a hole (" + r.String() + ") in the wider rule before it (" + e.String() + ")")
			}
			e.Access = keepAccess(e.Access, func(letter string) bool { return !strings.Contains(r.Access, letter) })
		}
		if e.Access != "" {
			kept = append(kept, e)
		}
	}
	s.exceptions = kept
	return nil
}

// except adds an exception, merged with one for the same devices: the kernel asks
// that a single exception allow everything that an access wants.
func (s *ruleSet) except(r *DeviceRule) {
	for i := range s.exceptions {
		e := &s.exceptions[i]
		if e.Type == r.Type && e.Major == r.Major && e.Minor == r.Minor {
			e.Access = sortedAccess(e.Access + r.Access)
			return
		}
	}
	s.exceptions = append(s.exceptions, *r)
}

// rules renders the set: the default, then the exceptions that no wider one makes
// superfluous.
func (s *ruleSet) rules() []DeviceRule {
	rules := make([]DeviceRule, 1, 1+len(s.exceptions))
	rules[0] = DeviceRule{Allow: s.allow, Type: 'a', Major: deviceAny, Minor: deviceAny, Access: accessAll}
	for i := range s.exceptions {
		if !s.superfluous(i) {
			rules = append(rules, s.exceptions[i])
		}
	}
	return rules
}

// superfluous reports whether another exception says all that the i-th one does.
func (s *ruleSet) superfluous(i int) bool {
	e := &s.exceptions[i]
	for j := range s.exceptions {
		wider := &s.exceptions[j]
		if i != j && ruleCovers(wider, e) && sortedAccess(wider.Access+e.Access) == wider.Access {
			return true
		}
	}
	return false
}

// ruleCovers reports whether every device of b is one of a; both are of one type each.
func ruleCovers(a, b *DeviceRule) bool {
	return a.Type == b.Type &&
		(a.Major == deviceAny || a.Major == b.Major) &&
		(a.Minor == deviceAny || a.Minor == b.Minor)
}

// rulesOverlap reports whether a and b have a device in common.
func rulesOverlap(a, b *DeviceRule) bool {
	return a.Type == b.Type &&
		(a.Major == deviceAny || b.Major == deviceAny || a.Major == b.Major) &&
		(a.Minor == deviceAny || b.Minor == deviceAny || a.Minor == b.Minor)
}
