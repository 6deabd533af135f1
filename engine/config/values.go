package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
)

// value is a setting that a flag can set from a word and the file from JSON. It is a pflag.Value.
type value struct {
	kind string
	set  func(string) error
	fill func([]byte) error
	show func() string
}

// String is the value as conflicts between flag and file show it.
func (v value) String() string {
	if v.show == nil { // pflag asks a zero value for its default.
		return ""
	}
	return v.show()
}

// Type is the word in the usage.
func (v value) Type() string { return v.kind }

// Set takes the flag's word.
func (v value) Set(s string) error { return v.set(s) }

// scalar is one word.
func scalar[T any](to *T, kind string, parse func(string) (T, error)) value {
	return value{
		kind: kind, show: func() string { return fmt.Sprint(*to) },
		set:  func(s string) (err error) { *to, err = parse(s); return err },
		fill: func(b []byte) error { return json.Unmarshal(b, to) },
	}
}

func text(to *string) value {
	return scalar(to, "string", func(s string) (string, error) { return s, nil })
}

func yesNo(to *bool) value { return scalar(to, "bool", strconv.ParseBool) }

func number(to *int) value { return scalar(to, "int", strconv.Atoi) }

// size is a number of bytes, as 64M.
func size(to *int64) value {
	v := scalar(to, "bytes", units.RAMInBytes)
	v.fill = func(b []byte) error {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return json.Unmarshal(b, to)
		}
		return v.set(s)
	}
	return v
}

// list is a flag that can be repeated.
func list[T any](to *[]T, kind string, parse func(string) (T, error)) value {
	return value{
		kind: kind, show: func() string { return fmt.Sprint(*to) },
		set: func(s string) error {
			one, err := parse(s)
			if err == nil {
				*to = append(*to, one)
			}
			return err
		},
		fill: func(b []byte) error { return json.Unmarshal(b, to) },
	}
}

func words(to *[]string) value {
	return list(to, "list", func(s string) (string, error) { return s, nil })
}

func checkedWords(to *[]string, check func(string) error) value {
	return list(to, "list", func(s string) (string, error) { return s, check(s) })
}

func addresses(to *[]netip.Addr) value {
	return list(to, "list", func(s string) (netip.Addr, error) { return netip.ParseAddr(strings.TrimSpace(s)) })
}

// pools is base=10.0.0.0/8,size=24, repeated.
func pools(to *[]Pool) value { return list(to, "pool-options", parsePool) }

func parsePool(s string) (p Pool, err error) {
	for field := range strings.SplitSeq(s, ",") {
		key, val, ok := strings.Cut(field, "=")
		if !ok {
			return p, fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
		switch strings.ToLower(key) {
		case "base":
			p.Base, err = netip.ParsePrefix(val)
		case "size":
			p.Size, err = strconv.Atoi(val)
		default:
			err = fmt.Errorf("unexpected key '%s' in '%s'", key, field)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// dictionary is key=value, repeated. What the file has is put to what there is.
func dictionary[T any](to map[string]T, kind string, parse func(key, val string, given bool) (T, error)) value {
	return value{
		kind: kind, show: func() string { return fmt.Sprint(slices.Sorted(maps.Keys(to))) },
		set: func(s string) error {
			key, val, given := strings.Cut(s, "=")
			v, err := parse(key, val, given)
			if err == nil {
				to[key] = v
			}
			return err
		},
		fill: func(b []byte) error {
			m := map[string]T{}
			if err := json.Unmarshal(b, &m); err != nil {
				return err
			}
			maps.Copy(to, m)
			return nil
		},
	}
}

func options(to map[string]string) value {
	return dictionary(to, "map", func(_, val string, _ bool) (string, error) { return val, nil })
}

// switches is name or name=false, repeated.
func switches(to map[string]bool) value {
	return dictionary(to, "map", func(_, val string, given bool) (bool, error) {
		if !given {
			return true, nil
		}
		return strconv.ParseBool(val)
	})
}

// stockRuntime is there without being configured.
const stockRuntime = "runc"

// runtimes is name=path, repeated.
func runtimes(to map[string]system.Runtime) value {
	v := dictionary(to, "runtime", nil)
	v.set = func(s string) error {
		name, path, _ := strings.Cut(s, "=")
		name, path = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(path)
		if name == "" || path == "" {
			return fmt.Errorf("invalid runtime argument: %s", s)
		}
		if name == stockRuntime {
			return fmt.Errorf("runtime name '%s' is reserved", stockRuntime)
		}
		if _, ok := to[name]; ok {
			return fmt.Errorf("runtime '%s' was already defined", name)
		}
		to[name] = system.Runtime{Path: path}
		return nil
	}
	return v
}

// ulimits is name=soft:hard, repeated.
func ulimits(to map[string]*container.Ulimit) value {
	return dictionary(to, "ulimit", func(key, val string, given bool) (*container.Ulimit, error) {
		if !given {
			return nil, fmt.Errorf("invalid ulimit argument: %s", key)
		}
		return units.ParseUlimit(key + "=" + val)
	})
}

// driverOptions is driver=key=value, repeated.
func driverOptions(to map[string]map[string]string) value {
	return dictionary(to, "mapmap", func(driver, rest string, _ bool) (map[string]string, error) {
		key, val, ok := strings.Cut(rest, "=")
		if !ok || driver == "" || key == "" {
			return nil, fmt.Errorf("invalid value %q: must be driver=key=value", driver+"="+rest)
		}
		m := maps.Clone(to[driver])
		if m == nil {
			m = map[string]string{}
		}
		m[key] = val
		return m, nil
	})
}

// cgroupDriver is the one option of a list that exists: native.cgroupdriver=cgroupfs or systemd.
func cgroupDriver(to *string) value {
	given := []string{}
	v := checkedWords(&given, func(s string) (err error) {
		*to, err = parseCgroupDriver(s)
		return err
	})
	fill := v.fill
	v.fill = func(b []byte) error {
		if err := fill(b); err != nil {
			return err
		}
		for _, s := range given {
			driver, err := parseCgroupDriver(s)
			if err != nil {
				return err
			}
			*to = driver
		}
		return nil
	}
	return v
}

func parseCgroupDriver(s string) (string, error) {
	key, val, ok := strings.Cut(s, "=")
	key, val = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(val)
	switch {
	case !ok || key == "" || val == "":
		return "", fmt.Errorf("invalid exec-opt (%s): must be formatted 'opt=value'", s)
	case key != "native.cgroupdriver":
		return "", fmt.Errorf("invalid exec-opt (%s): unknown option: '%s'", s, key)
	case val != "cgroupfs" && val != "systemd":
		return "", fmt.Errorf("invalid exec-opt (%s): cgroup drivers are cgroupfs and systemd", s)
	}
	return val, nil
}
