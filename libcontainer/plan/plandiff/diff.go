// Package plandiff compares two plans operation by operation: what `runc plan --diff`
// prints.
package plandiff

import (
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Side is one of two plans that are compared, and the bundle that it is for: paths below
// that are the same on both sides.
type Side struct {
	Plan   *plan.Plan
	Bundle string
}

// ChangeKind says how an operation of one plan differs from that of another.
type ChangeKind string

// The kinds of change.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed" // the same operation with other arguments
	Moved   ChangeKind = "moved"   // the very same operation in another place
)

// Change is one difference between two plans.
type Change struct {
	Kind     ChangeKind
	Old, New *Step       // nil for what was added, or removed
	Args     []ArgChange // of a changed operation
}

// Step is an operation in its plan, with the bundle's path as $BUNDLE.
type Step struct {
	Number int // from 1
	Actor  string
	Op     string // the operation's name
	Field  string
	Text   string
	args   []arg
	key    string // equal for equal operations, wherever they come from
}

// Compare matches two plans operation by operation, in the order of the new one. A field's
// index is no difference: a mount in front of others changes none of those. None is two
// plans that do the same.
func Compare(before, after Side) []Change {
	a, b := stepsOf(before), stepsOf(after)
	changes := edits(a, b)
	pair(changes, Moved, func(x, y *Step) bool { return x.key == y.key })
	pair(changes, Changed, func(x, y *Step) bool {
		return x.sameKind(y) && x.subject() != "" && x.subject() == y.subject()
	})
	pair(changes, Changed, func(x, y *Step) bool {
		return x.sameKind(y) && x.Field == y.Field && !strings.Contains(x.Field, "[")
	})
	once := func(s *Step) bool { return occurrences(a, s.Op) == 1 && occurrences(b, s.Op) == 1 }
	pair(changes, Changed, func(x, y *Step) bool { return x.sameKind(y) && once(x) })
	left := changes[:0]
	for i := range changes {
		c := &changes[i]
		if c.Kind == Changed {
			c.Args = argChanges(c.Old, c.New)
		}
		if c.Kind != "" {
			left = append(left, *c)
		}
	}
	return left
}

// edits turns one list into the other with the fewest additions and removals: what is in
// their longest common subsequence stays.
func edits(a, b []Step) (list []Change) {
	// common[i][j] is the length of that of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	common[len(a)] = make([]int, len(b)+1)
	for i := len(a) - 1; i >= 0; i-- {
		common[i] = make([]int, len(b)+1)
		for j := len(b) - 1; j >= 0; j-- {
			if a[i].key == b[j].key {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i].key == b[j].key:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			list = append(list, Change{Kind: Removed, Old: &a[i]})
			i++
		default:
			list = append(list, Change{Kind: Added, New: &b[j]})
			j++
		}
	}
	return list
}

// pair joins a removal with an addition of the same thing; the place of the addition
// stands for both, and that of the removal becomes empty.
func pair(changes []Change, kind ChangeKind, same func(before, after *Step) bool) {
	for i := range changes {
		added := &changes[i]
		if added.Kind != Added {
			continue
		}
		for j := range changes {
			removed := &changes[j]
			if removed.Kind == Removed && same(removed.Old, added.New) {
				added.Kind, added.Old = kind, removed.Old
				*removed = Change{}
				break
			}
		}
	}
}

func (s *Step) sameKind(o *Step) bool { return s.Op == o.Op && s.Actor == o.Actor }

func occurrences(steps []Step, op string) (n int) {
	for i := range steps {
		if steps[i].Op == op {
			n++
		}
	}
	return n
}
