package validate

import (
	"strconv"
	"strings"
)

// maxListed is the highest CPU or NUMA node that a list may name; a kernel has at most
// a quarter of that.
const maxListed = 1 << 16

// idListRule asks for a list of CPUs or memory nodes like "0-3,7", cpuset(7) "List
// format". Spaces around elements and empty elements are let pass, as in the kernel;
// an empty list is "not set".
func idListRule(list string) string {
	if list == "" {
		return ""
	}
	named := false
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		named = true
		first, last, ranged := strings.Cut(word, "-")
		a, okA := listed(first)
		b, okB := listed(last)
		if !okA || ranged && (!okB || b < a) {
			return "has " + quote(word) + ", must be a list like 0-3,7"
		}
	}
	if !named {
		return "is " + quote(list) + ", must be a list like 0-3,7"
	}
	return ""
}

// namesNone reports whether a good list names nothing.
func namesNone(list string) bool { return strings.Trim(list, ", \t\n") == "" }

// idCount is how many a good list names, counting twice what is named twice.
func idCount(list string) int {
	n := 0
	for word := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(word), "-")
		a, named := listed(first)
		switch b, _ := listed(last); {
		case ranged:
			n += int(b-a) + 1
		case named:
			n++
		}
	}
	return n
}

func listed(s string) (uint64, bool) {
	if !digits(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return n, err == nil && n <= maxListed
}
