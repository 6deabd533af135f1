package resctrl

import "strings"

// agrees reports whether the schemata of a class contain a line: the same resource with the
// same value for each of the line's domains. The kernel shows values in a form of its own:
// bit masks with or without leading zeros, white space before them.
func agrees(schemata, line string) bool {
	resource, wanted := parseSchema(line)
	for present := range strings.SplitSeq(schemata, "\n") {
		name, values := parseSchema(present)
		if name != resource {
			continue
		}
		for domain, value := range wanted {
			if values[domain] != value {
				return false
			}
		}
		return len(wanted) > 0
	}
	return false
}

// parseSchema reads "RESOURCE:DOMAIN=VALUE;…".
func parseSchema(line string) (resource string, values map[string]string) {
	resource, rest, _ := strings.Cut(line, ":")
	values = make(map[string]string)
	for part := range strings.SplitSeq(rest, ";") {
		domain, value, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		values[plainNumber(domain)] = plainNumber(value)
	}
	return strings.TrimSpace(resource), values
}

// plainNumber is a number without white space, prefix and leading zeros, in small letters.
func plainNumber(s string) string {
	s = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(s)), "0x")
	if short := strings.TrimLeft(s, "0"); short != "" {
		return short
	}
	return "0"
}
