package validate

import (
	"strconv"
	"strings"
)

// A rule function looks at one value and says what is wrong with it, "" for nothing.

// nulRule refuses what the kernel, whose strings end at NUL, would cut.
func nulRule(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		return "contains a NUL byte"
	}
	return ""
}

// textRule asks for a string that is there.
func textRule(s string) string {
	if s == "" {
		return "must not be empty"
	}
	return nulRule(s)
}

// absoluteRule asks for an absolute path.
func absoluteRule(s string) string {
	if rule := textRule(s); rule != "" {
		return rule
	}
	if s[0] != '/' {
		return "is " + quote(s) + ", must be an absolute path"
	}
	return ""
}

// lineRule asks for a string that stays one line when it is written to a file.
func lineRule(s string) string {
	if strings.IndexByte(s, '\n') >= 0 {
		return "contains a newline"
	}
	return nulRule(s)
}

// envRule asks for the form of environ(7), name=value.
func envRule(s string) string {
	switch strings.IndexByte(s, '=') {
	case -1:
		// The text may be a secret that lost its name: it is not shown.
		return "has no \"=\", must be name=value"
	case 0:
		return "has no name before \"=\", must be name=value"
	}
	return nulRule(s)
}

// oneOf is the rule for a value that is not in a list.
func oneOf(found, list string) string {
	return "is " + quote(found) + ", must be one of " + list
}

// intRule is the rule for a number outside of its range.
func intRule(n int64, want string) string {
	return "is " + strconv.FormatInt(n, 10) + ", must be " + want
}
