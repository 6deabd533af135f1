package validate

import "strings"

// versionRule asks for a semantic version (semver.org, 2.0.0) with the major number 1:
// the spec promises that all of those work together, pre-releases are taken at their word.
func versionRule(version string) string {
	if version == "" {
		return "must not be empty"
	}
	rest, build, hasBuild := strings.Cut(version, "+")
	core, pre, hasPre := strings.Cut(rest, "-")
	good := (!hasBuild || identifiers(build)) && (!hasPre || identifiers(pre))
	major, rest, _ := strings.Cut(core, ".")
	minor, patch, _ := strings.Cut(rest, ".")
	if !good || !number(major) || !number(minor) || !number(patch) {
		return "unsupported spec version " + quote(version) + ", must be a semantic version such as 1.3.0"
	}
	if major != "1" {
		return "unsupported spec version " + quote(version) + ", must be 1.x"
	}
	return ""
}

// number reports whether s is a decimal number without leading zeros.
func number(s string) bool {
	return digits(s) && (s == "0" || s[0] != '0')
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// identifiers reports whether s is a dotted list of the words that semver allows
// after "-" and "+".
func identifiers(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if word == "" {
			return false
		}
		for i := range len(word) {
			c := word[i]
			if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}
