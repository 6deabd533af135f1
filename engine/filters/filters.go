package filters

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Args is what a client filters by: for each key the values, any of which will do.
type Args map[string]map[string]bool

// Parse reads the parameter: a JSON object of key → value → true, or the older key → list of values.
func Parse(text string) (Args, error) {
	if text == "" {
		return Args{}, nil
	}
	a := Args{}
	if err := json.Unmarshal([]byte(text), &a); err == nil {
		if a == nil { // null
			a = Args{}
		}
		return a, nil
	}
	old := map[string][]string{}
	if err := json.Unmarshal([]byte(text), &old); err != nil {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter")
	}
	a = make(Args, len(old))
	for key, values := range old {
		a[key] = make(map[string]bool, len(values))
		for _, v := range values {
			a[key][v] = true
		}
	}
	return a, nil
}

// Only says no to keys that are not in a list: "invalid filter 'x'".
func (a Args) Only(keys ...string) error {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if !slices.Contains(keys, key) {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
		}
	}
	return nil
}

// Has says that a key is filtered by, even if without a value.
func (a Args) Has(key string) bool {
	_, ok := a[key]
	return ok
}

// Values of a key, sorted.
func (a Args) Values(key string) []string { return slices.Sorted(maps.Keys(a[key])) }

// Exact says that a value is among those of a key, or the key is not filtered by.
func (a Args) Exact(key, value string) bool { return len(a[key]) == 0 || a[key][value] }

// Unique is Exact for keys of which a thing can have one value only: two values match nothing.
func (a Args) Unique(key, value string) bool {
	return len(a[key]) == 0 || len(a[key]) == 1 && a[key][value]
}

// Match is Exact for values that are regular expressions or parts.
func (a Args) Match(key, value string) bool {
	if a.Exact(key, value) {
		return true
	}
	for pattern := range a[key] {
		if ok, err := regexp.MatchString(pattern, value); err == nil && ok {
			return true
		}
	}
	return false
}

// Prefix is Exact for values that are beginnings.
func (a Args) Prefix(key, value string) bool {
	if a.Exact(key, value) {
		return true
	}
	for prefix := range a[key] {
		if strings.HasPrefix(value, prefix) {
			return true
		}
	}
	return false
}

// Labels says that labels have all values of a key ("a" or "a=b").
func (a Args) Labels(key string, labels map[string]string) bool {
	for wanted := range a[key] {
		name, value, exact := strings.Cut(wanted, "=")
		got, ok := labels[name]
		if !ok || exact && got != value {
			return false
		}
	}
	return true
}

// Bool reads a key that means yes or no: "invalid filter 'dangling=[x]'" otherwise.
func (a Args) Bool(key string, absent bool) (bool, error) {
	values, ok := a[key]
	if !ok {
		return absent, nil
	}
	if len(values) == 0 {
		return absent, fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
	}
	no, yes := values["0"] || values["false"], values["1"] || values["true"]
	if no == yes {
		return absent, a.Invalid(key)
	}
	return yes, nil
}

// Invalid is the error for values of a key that mean nothing.
func (a Args) Invalid(key string) error {
	return fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter '%s=%s'", key, fmt.Sprint(a.Values(key)))
}
