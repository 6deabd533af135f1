package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Load reads a file, and those that it imports, over the defaults. Errors name file, line and key. What follows from
// other settings is not filled in yet: see Complete.
func Load(path string) (Config, error) {
	c := Default()
	if err := c.load(path, map[string]bool{}); err != nil {
		return Config{}, err
	}
	return c, nil
}

// load reads one file, and then its imports: as with containerd, what is imported wins.
func (c *Config) load(path string, seen map[string]bool) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if seen[path] {
		return nil // imported twice, or in a circle
	}
	seen[path] = true
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	f := c.view()
	if err := c.decode(f, path, text); err != nil {
		return err
	}
	if v := *f.Version; v != 0 && (v < 2 || v > 4) {
		return fmt.Errorf("configuration: %s: version = %d, want 2, 3 or 4", path, v)
	}
	for name, d := range f.Timeouts {
		c.Timeouts[name] = time.Duration(d)
	}
	for _, pattern := range f.Imports {
		if err := c.include(path, pattern, seen); err != nil {
			return err
		}
	}
	return nil
}

// include loads what a pattern of imports names. A pattern without a * must name a file.
func (c *Config) include(from, pattern string, seen map[string]bool) error {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(from), pattern)
	}
	paths := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		var err error
		if paths, err = filepath.Glob(pattern); err != nil {
			return fmt.Errorf("configuration: %s: imports: %q: %w", from, pattern, err)
		}
	}
	for _, path := range paths {
		if err := c.load(path, seen); err != nil {
			return fmt.Errorf("%w (imported by %s)", err, from)
		}
	}
	return nil
}

// decode reads text into f and adds a warning for what f has no place for.
func (c *Config) decode(f *file, path string, text []byte) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(f)
	var (
		fault   *toml.DecodeError
		unknown *toml.StrictMissingError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		var all map[string]any
		if err := toml.Unmarshal(text, &all); err != nil {
			return fmt.Errorf("configuration: %s: %w", path, err)
		}
		for _, key := range meaningless(unknown.Errors, all) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: %s means nothing here", path, key))
		}
		return nil
	case errors.As(err, &fault):
		line, _ := fault.Position()
		if key := fault.Key(); len(key) > 0 {
			return fmt.Errorf("configuration: %s:%d: %s: %w", path, line, spell(key), fault)
		}
		return fmt.Errorf("configuration: %s:%d: %w", path, line, fault)
	default:
		return fmt.Errorf("configuration: %s: %w", path, err)
	}
}

// meaningless lists the keys that were set and have no place in a Config. Of a table that is unknown as a whole the
// table is named; what is empty, 0 or false, as containerd's own default file is full of, asks for nothing.
func meaningless(errs []toml.DecodeError, all map[string]any) []string {
	var keys []string
	for _, e := range errs {
		key := e.Key()
		switch known := reflect.TypeFor[plugins](); {
		case len(key) > 1 && key[0] == "plugins" && !hasKey(known, key[1]):
			key = key[:2]
		case len(key) > 0 && key[0] != "plugins" && !hasKey(reflect.TypeFor[file](), key[0]):
			key = key[:1]
		}
		if name := spell(key); !empty(find(all, key)) && !slices.Contains(keys, name) {
			keys = append(keys, name)
		}
	}
	return keys
}

// hasKey tells whether one of the fields of t has this name in TOML.
func hasKey(t reflect.Type, key string) bool {
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("toml"), ","); name == key {
			return true
		}
	}
	return false
}

func find(table map[string]any, key []string) any {
	var v any = table
	for _, k := range key {
		t, ok := v.(map[string]any)
		if !ok {
			return v
		}
		v = t[k]
	}
	return v
}

func empty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if !empty(e) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return v == nil || reflect.ValueOf(v).IsZero()
}

// spell writes a key as TOML does.
func spell(key []string) string {
	parts := make([]string, len(key))
	for i, k := range key {
		if parts[i] = k; strings.Contains(k, ".") {
			parts[i] = `"` + k + `"`
		}
	}
	return strings.Join(parts, ".")
}

// Write writes c as a file that Load reads, with every setting in it.
func (c Config) Write(w io.Writer) error {
	f := c.view()
	*f.Version = 3
	f.Plugins.RestartOld = nil
	f.Plugins.ServerGRPC, f.Plugins.ServerTTRPC, f.Plugins.ServerDebug, f.Plugins.ServerMetric = nil, nil, nil, nil
	f.Timeouts = map[string]duration{}
	for name, d := range c.Timeouts {
		f.Timeouts[name] = duration(d)
	}
	return toml.NewEncoder(w).Encode(f)
}
