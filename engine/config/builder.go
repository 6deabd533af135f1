package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Builder is about buildkitd.
type Builder struct {
	// Program is the path of buildkitd; empty for the one beside this program or in PATH.
	Program string
	GC      BuilderGC
	// NetworkHost and Insecure may be asked for by builds.
	NetworkHost, Insecure bool
	// History is what is kept of finished builds; nil for BuildKit's own measure.
	History *BuilderHistory
}

// BuilderGC says when cache is given up.
type BuilderGC struct {
	Disabled bool
	Space
	// Rules take the place of BuildKit's own; nil for those, with Space as their measure.
	Rules []BuilderRule
}

// Space is measures of the cache in bytes; 0 for those of BuildKit.
type Space struct{ Reserved, MaxUsed, MinFree int64 }

// BuilderRule is one step of giving up cache.
type BuilderRule struct {
	Space
	All bool
	// Keep is how long cache stays that nobody uses; Filters are in BuildKit's words.
	Keep    time.Duration
	Filters []string
}

// BuilderHistory bounds what is kept of finished builds.
type BuilderHistory struct {
	Age     time.Duration
	Entries int64
}

// builder is the value of the key of that name.
func builder(to *Builder) value {
	return value{
		kind: "map", show: func() string { return "" },
		set: func(string) error { return nil },
		fill: func(b []byte) error {
			var f builderFile
			dec := json.NewDecoder(bytes.NewReader(b))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&f); err != nil {
				return fmt.Errorf("builder: %w", err)
			}
			return f.into(to)
		},
	}
}

// builderFile is dockerd's form of it.
type builderFile struct {
	GC struct {
		Enabled              *bool
		Policy               []builderRule
		DefaultReservedSpace string
		DefaultKeepStorage   string
		DefaultMaxUsedSpace  string
		DefaultMinFreeSpace  string
	}
	Entitlements struct {
		NetworkHost      *bool `json:"network-host"`
		SecurityInsecure *bool `json:"security-insecure"`
		Device           *bool `json:"device"`
	}
	History *struct {
		MaxAge     json.RawMessage
		MaxEntries int64
	}
}

type builderRule struct {
	All           bool
	Filter        builderFilter
	ReservedSpace string
	KeepStorage   string
	MaxUsedSpace  string
	MinFreeSpace  string
}

func (f *builderFile) into(to *Builder) (err error) {
	to.GC.Disabled = f.GC.Enabled != nil && !*f.GC.Enabled
	if to.GC.Space, err = space(f.GC.DefaultReservedSpace, f.GC.DefaultKeepStorage, f.GC.DefaultMaxUsedSpace, f.GC.DefaultMinFreeSpace); err != nil {
		return fmt.Errorf("builder.gc: %w", err)
	}
	for i, r := range f.GC.Policy {
		rule := BuilderRule{All: r.All}
		if rule.Space, err = space(r.ReservedSpace, r.KeepStorage, r.MaxUsedSpace, r.MinFreeSpace); err == nil {
			err = r.Filter.into(&rule)
		}
		if err != nil {
			return fmt.Errorf("builder.gc.policy[%d]: %w", i, err)
		}
		to.GC.Rules = append(to.GC.Rules, rule)
	}
	if e := f.Entitlements.NetworkHost; e != nil {
		to.NetworkHost = *e
	}
	if e := f.Entitlements.SecurityInsecure; e != nil {
		to.Insecure = *e
	}
	if f.History == nil {
		return nil
	}
	to.History = &BuilderHistory{Entries: f.History.MaxEntries}
	if to.History.Age, err = seconds(f.History.MaxAge); err != nil {
		return fmt.Errorf("builder.history.maxAge: %w", err)
	}
	return nil
}

// space reads sizes; the second is an older name of the first.
func space(reserved, keep, used, free string) (s Space, err error) {
	if reserved == "" {
		reserved = keep
	}
	for _, one := range []struct {
		text, name string
		to         *int64
	}{{reserved, "reservedSpace", &s.Reserved}, {used, "maxUsedSpace", &s.MaxUsed}, {free, "minFreeSpace", &s.MinFree}} {
		if one.text == "" {
			continue
		}
		if *one.to, err = units.RAMInBytes(one.text); err != nil {
			return s, fmt.Errorf("failed to parse %s: %w", one.name, err)
		}
	}
	return s, nil
}

// seconds is a number of them, or a duration in words.
func seconds(raw json.RawMessage) (time.Duration, error) {
	if len(raw) == 0 {
		return 0, nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		s = string(raw)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(s)
}

// builderFilter is ["type=x"], or the API's form of filters.
type builderFilter map[string][]string

// UnmarshalJSON implements json.Unmarshaler.
func (f *builderFilter) UnmarshalJSON(b []byte) error {
	*f = builderFilter{}
	var words []string
	if err := json.Unmarshal(b, &words); err == nil {
		for _, w := range words {
			name, v, _ := strings.Cut(w, "=")
			name = strings.ToLower(strings.TrimSpace(name))
			(*f)[name] = append((*f)[name], strings.TrimSpace(v))
		}
		return nil
	}
	old := map[string]map[string]bool{}
	if err := json.Unmarshal(b, &old); err != nil {
		return err
	}
	for name, values := range old {
		for v := range values {
			(*f)[name] = append((*f)[name], v)
		}
	}
	return nil
}

// CacheFields are what cache can be filtered by.
var CacheFields = []string{"id", "parent", "type", "description", "inuse", "shared", "private", "mutable", "immutable"}

// into puts filters in BuildKit's words; all of a rule must fit.
func (f builderFilter) into(r *BuilderRule) error {
	var all []string
	for name, values := range f {
		switch {
		case len(values) > 1:
			return fmt.Errorf("filter %q expects only one value", name)
		case name == "until" || name == "unused-for":
			keep, err := time.ParseDuration(values[0])
			if err != nil {
				return fmt.Errorf("%q filter expects a duration (e.g., '24h'): %w", name, err)
			}
			r.Keep = keep
		case !slices.Contains(CacheFields, name):
			return fmt.Errorf("invalid filter '%s'", name)
		default:
			all = append(all, CacheFilter(name, values[0]))
		}
	}
	if len(all) > 0 {
		slices.Sort(all)
		r.Filters = []string{strings.Join(all, ",")}
	}
	return nil
}

// CacheFilter is one field in BuildKit's words; a field without a value is one that is set.
func CacheFilter(field, v string) string {
	switch {
	case v == "":
		return field
	case field == "id":
		return field + "~=" + v
	}
	return field + "==" + v
}
