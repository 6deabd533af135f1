package plan_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// others are values in place of those of which only some are meaningful; any other string
// gets a letter more, any other number is one larger.
var others = map[string]string{
	"slave": "shared", "CAP_KILL": "CAP_CHOWN", "CAP_AUDIT_WRITE": "CAP_CHOWN", "c": "b", "b": "c", "u": "b", "p": "b",
	"rw": "r", "r": "w", "rwm": "r", "2MB": "4MB", "64KB": "4KB",
	"100": "60", "-1": "7", "1000": "999",
}

// walk calls f with every place in a tree of JSON values that a path leads to: its
// container and its key or index. f returns the new value, and whether there is one.
func walk(node any, path string, f func(any) (any, bool)) {
	step, rest := path, ""
	if i := strings.IndexAny(path[1:], ".["); i >= 0 {
		step, rest = path[:i+1], strings.TrimPrefix(path[i+1:], ".")
	}
	visit := func(value any, set func(any), drop func()) {
		if rest != "" {
			walk(value, rest, f)
		} else if changed, keep := f(value); keep {
			set(changed)
		} else {
			drop()
		}
	}
	switch node := node.(type) {
	case []any: // step is "[]"; no path ends in one that is removed
		for i := range node {
			visit(node[i], func(v any) { node[i] = v }, func() {})
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			if key == step || step == "*" {
				visit(node[key], func(v any) { node[key] = v }, func() { delete(node, key) })
			}
		}
	}
}

// remove deletes what a path leads to.
func remove(tree any, path string) { walk(tree, path, func(any) (any, bool) { return nil, false }) }

// change gives the n-th place that a field's path leads to another value. It reports
// whether there is such a place.
func change(tree any, path string, n *int) bool {
	seen, found := 0, false
	walk(tree, path, func(v any) (any, bool) {
		seen++
		if seen-1 != *n {
			return v, true
		}
		found = true
		return other(v), true
	})
	return found
}

func other(value any) any {
	switch v := value.(type) {
	case bool:
		return !v
	case json.Number:
		if o, ok := others[string(v)]; ok {
			return json.Number(o)
		}
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return json.Number(strconv.FormatInt(n+1, 10))
		}
		return json.Number("1")
	case string:
		if o, ok := others[v]; ok {
			return o
		}
		return v + "x"
	}
	return value
}
