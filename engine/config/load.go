package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Command is a command line that was understood.
type Command struct {
	Config *Config
	// Version, Help and Validate are asked for: to be told, and nothing else.
	Version, Help, Validate bool
	// Usage is the text for Help.
	Usage string
	// File is the configuration file, which need not be there.
	File string
	// Ignored are settings of dockerd that were given and mean nothing here.
	Ignored []string
}

// FlagError is a command line that was not understood.
type FlagError struct{ error }

// Unwrap gives what was wrong.
func (e FlagError) Unwrap() error { return e.error }

// Load reads the command line of a program, and the file that it or the default names. The file can be read again by
// calling it again.
func Load(program string, args []string, env func(string) string) (*Command, error) {
	program = filepath.Base(program)
	c := Default(program)
	cmd := &Command{Config: c, File: defaultFile(program)}
	o := &others{restart: true}
	settings := c.settings(o)
	set := flags(program, settings, cmd)
	if err := set.Parse(args); err != nil {
		return nil, FlagError{err}
	}
	cmd.Usage = set.FlagUsages()
	if cmd.Help || cmd.Version {
		return cmd, nil
	}
	if set.NArg() > 0 {
		return nil, FlagError{fmt.Errorf("%q accepts no argument(s).\nSee '%s --help'", program, program)}
	}
	if err := c.readFile(cmd.File, settings, set); err != nil {
		if set.Changed("config-file") || !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("unable to configure the Docker daemon with file %s: %w", cmd.File, err)
		}
	}
	if err := c.complete(program, set, env); err != nil {
		return nil, err
	}
	cmd.Ignored = o.ignored
	return cmd, errors.Join(o.check(), c.validate())
}

func flags(program string, settings []setting, cmd *Command) *pflag.FlagSet {
	set := pflag.NewFlagSet(program, pflag.ContinueOnError)
	set.SortFlags = true
	set.Usage = func() {}
	set.BoolVarP(&cmd.Version, "version", "v", false, "Print the version")
	set.BoolVarP(&cmd.Help, "help", "h", false, "Print this")
	set.BoolVar(&cmd.Validate, "validate", false, "Check the configuration, and end")
	set.StringVar(&cmd.File, "config-file", cmd.File, "Configuration as JSON")
	for _, s := range settings {
		if s.flag == "" {
			continue
		}
		f := set.VarPF(s.value, s.flag, s.short, s.usage)
		if s.value.kind == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	return set
}

// readFile takes settings from a file. What a flag has told as well is an error, as is what nobody knows.
func (c *Config) readFile(path string, settings []setting, set *pflag.FlagSet) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b = bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
	if len(b) == 0 {
		return nil
	}
	byKey := map[string]setting{}
	for _, s := range settings {
		byKey[s.name()] = s
	}
	found, err := flatten(b, byKey)
	if err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(found))
	if err := conflicts(keys, found, byKey, set); err != nil {
		return err
	}
	for _, key := range keys {
		if err := byKey[key].value.fill(found[key]); err != nil {
			return fmt.Errorf("invalid JSON: %s: %w", key, err)
		}
	}
	return nil
}

// flatten is the file's keys. Objects that are no setting by themselves are groups of settings.
func flatten(b []byte, known map[string]setting) (map[string]json.RawMessage, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(b, &top); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	flat := map[string]json.RawMessage{}
	for key, raw := range top {
		var group map[string]json.RawMessage
		if _, ok := known[key]; !ok && json.Unmarshal(raw, &group) == nil && group != nil {
			maps.Copy(flat, group)
			continue
		}
		flat[key] = raw
	}
	return flat, nil
}

func conflicts(keys []string, found map[string]json.RawMessage, known map[string]setting, set *pflag.FlagSet) error {
	var unknown, twice []string
	for _, key := range keys {
		s, ok := known[key]
		switch {
		case !ok:
			unknown = append(unknown, key)
		case s.flag != "" && set.Changed(s.flag) && !s.both:
			twice = append(twice, fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, s.value, plain(key, found[key])))
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	if len(twice) > 0 {
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(twice, ", "))
	}
	return nil
}

// plain is a value of the file as a person reads it. Proxies may have passwords in them.
func plain(key string, raw json.RawMessage) string {
	if strings.HasSuffix(key, "-proxy") {
		return "…"
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	return fmt.Sprint(v)
}

// complete fills what depends on other settings and on the environment.
func (c *Config) complete(program string, set *pflag.FlagSet, env func(string) string) error {
	if v := env("DOCKER_MIN_API_VERSION"); v != "" {
		if err := checkVersion(v); err != nil {
			return fmt.Errorf("invalid DOCKER_MIN_API_VERSION: %w", err)
		}
		c.MinAPI = v
	}
	t := &c.TLS
	if env("DOCKER_TLS_VERIFY") != "" && !set.Changed("tlsverify") {
		t.Verify = true
	}
	if t.Enabled && !set.Changed("tlsverify") {
		t.Verify = true
	}
	t.Enabled = t.Enabled || t.Verify
	certs := env("DOCKER_CERT_PATH")
	if certs == "" {
		certs = filepath.Join(env("HOME"), ".docker")
	}
	for name, to := range map[string]*string{"ca.pem": &t.CA, "cert.pem": &t.Cert, "key.pem": &t.Key} {
		if *to == "" && t.Enabled {
			*to = filepath.Join(certs, name)
		}
	}
	c.Containers.CDIDirs = c.cdiDirs()
	c.Hosts = slices.DeleteFunc(c.Hosts, func(h string) bool { return strings.TrimSpace(h) == "" })
	if len(c.Hosts) == 0 && t.Enabled {
		c.Hosts = []string{"tcp://localhost:2376"}
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{defaultHost(program)}
	}
	for _, p := range []*string{&c.Root, &c.ExecRoot} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// cdiDirs are the folders without empty names; not nil and empty when devices are not to be found by name.
func (c *Config) cdiDirs() []string {
	if on, told := c.Features["cdi"]; told && !on {
		return []string{}
	}
	return slices.DeleteFunc(c.Containers.CDIDirs, func(dir string) bool { return dir == "" })
}
