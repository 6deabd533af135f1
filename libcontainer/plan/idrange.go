package plan

import (
	"strconv"
	"strings"
)

// IDRange is an element of a list of CPUs or memory nodes, cpuset(7) "List format".
type IDRange struct {
	First, Last uint32
}

// String renders the range as a list has it.
func (r *IDRange) String() string {
	if r.First == r.Last {
		return number(r.First)
	}
	return number(r.First) + "-" + number(r.Last)
}

// idRanges reads a list that validate has found to be good.
func idRanges(list string) (ranges []IDRange) {
	for word := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(word), "-")
		if !ranged {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 32)
		b, errB := strconv.ParseUint(last, 10, 32)
		if errA == nil && errB == nil { // an empty element names nothing
			ranges = append(ranges, IDRange{uint32(a), uint32(b)})
		}
	}
	return ranges
}
