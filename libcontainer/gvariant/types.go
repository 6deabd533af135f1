package gvariant

import (
	"fmt"
	"strings"
)

// maxDepth bounds how deep types may nest, far above any property of systemd.
const maxDepth = 32

// keywords are the names that the text format has for basic types.
func keywords() []struct {
	name string
	code byte
} {
	return []struct {
		name string
		code byte
	}{
		{"boolean", 'b'},
		{"byte", 'y'},
		{"int16", 'n'},
		{"uint16", 'q'},
		{"int32", 'i'},
		{"uint32", 'u'},
		{"int64", 'x'},
		{"uint64", 't'},
		{"double", 'd'},
		{"string", 's'},
		{"objectpath", 'o'},
		{"signature", 'g'},
	}
}

// keywordOf is what stands before a value whose type its form does not tell.
func keywordOf(code byte) string {
	if code == 'i' || code == 's' || code == 'b' {
		return ""
	}
	for _, k := range keywords() {
		if k.code == code {
			return k.name + " "
		}
	}
	return ""
}

// Next cuts the first complete type off a signature.
func Next(signature string) (first, rest string, err error) {
	n, err := typeLength(signature, 0)
	if err != nil {
		return "", "", err
	}
	return signature[:n], signature[n:], nil
}

// typeLength is the length of the complete type that a signature begins with.
func typeLength(s string, depth int) (int, error) {
	switch {
	case s == "":
		return 0, fmt.Errorf("a type is missing")
	case depth > maxDepth:
		return 0, fmt.Errorf("a type that is nested too deeply")
	case strings.IndexByte("bynqiuxtdsogv", s[0]) >= 0:
		return 1, nil
	case strings.HasPrefix(s, "a{"):
		return dictLength(s, depth)
	case s[0] == 'a':
		n, err := typeLength(s[1:], depth+1)
		return n + 1, err
	case s[0] == '(':
		for n := 1; n < len(s); {
			if s[n] == ')' && n > 1 {
				return n + 1, nil
			}
			m, err := typeLength(s[n:], depth+1)
			if err != nil {
				return 0, err
			}
			n += m
		}
	}
	return 0, fmt.Errorf("%q is not a D-Bus type", s)
}

// dictLength is typeLength for an array of dictionary entries: a basic key, one value.
func dictLength(s string, depth int) (int, error) {
	if len(s) > 4 && strings.IndexByte("bynqiuxtdsog", s[2]) >= 0 {
		n, err := typeLength(s[3:], depth+1)
		if err == nil && 3+n < len(s) && s[3+n] == '}' {
			return 3 + n + 1, nil
		}
	}
	return 0, fmt.Errorf("%q is not a D-Bus type", s)
}

// Members are the types in a struct or dictionary entry.
func Members(sig string) []string {
	var list []string
	for rest := sig[1 : len(sig)-1]; rest != ""; {
		first, after, err := Next(rest)
		if err != nil {
			return list
		}
		list, rest = append(list, first), after
	}
	return list
}
