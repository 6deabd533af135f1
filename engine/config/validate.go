package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MinAPI and MaxAPI are the API versions that there are.
const (
	MinAPI = "1.24"
	MaxAPI = "1.56"
)

// validate says what cannot be meant, in the words that dockerd has for it.
func (c *Config) validate() error {
	if !slices.Contains([]string{"panic", "fatal", "error", "warn", "info", "debug", "trace"}, strings.ToLower(c.Log.Level)) {
		return fmt.Errorf("invalid logging level: %s", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("invalid log format: %s", c.Log.Format)
	}
	if err := c.validateLabels(); err != nil {
		return err
	}
	for name, n := range map[string]int{
		"default MTU": c.Network.MTU, "max concurrent downloads": c.Registry.Downloads, "max concurrent uploads": c.Registry.Uploads,
		"max download attempts": c.Registry.Attempts, "default stop timeout": c.Containers.StopTimeout,
	} {
		if n < 0 {
			return fmt.Errorf("invalid %s: %d", name, n)
		}
	}
	for _, m := range c.Registry.Mirrors {
		if err := checkMirror(m); err != nil {
			return err
		}
	}
	if err := c.validateContainers(); err != nil {
		return err
	}
	if b := c.Network.FirewallBackend; b != "" && b != "iptables" && b != "nftables" {
		return errors.New(`invalid firewall-backend: allowed values are "iptables" and "nftables"`)
	}
	if c.UsernsEach && c.UsernsPool == "" {
		return errors.New("--userns-per-container needs --userns-pool: the user whose ranges of ids are cut up")
	}
	if c.UsernsPool != "" && c.UsernsRemap != "" {
		return errors.New("--userns-remap and --userns-pool cannot go together")
	}
	if c.Root == "" || c.ExecRoot == "" {
		return errors.New("data-root and exec-root must name folders")
	}
	if err := checkVersion(c.MinAPI); err != nil {
		return fmt.Errorf("invalid min-api-version: %w", err)
	}
	return c.validateHosts()
}

func (c *Config) validateContainers() error {
	d := &c.Containers
	if d.IpcMode != "private" && d.IpcMode != "shareable" {
		return fmt.Errorf(`IPC mode "%v" is not supported as default value; use "shareable" or "private"`, d.IpcMode)
	}
	if d.CgroupnsMode != "" && d.CgroupnsMode != "host" && d.CgroupnsMode != "private" {
		return fmt.Errorf(`invalid default cgroup namespace (%v): use "host" or "private"`, d.CgroupnsMode)
	}
	if _, ok := d.Runtimes[stockRuntime]; ok {
		return fmt.Errorf("runtime name '%s' is reserved", stockRuntime)
	}
	if _, ok := d.Runtimes[d.DefaultRuntime]; !ok && !knownRuntime(d.DefaultRuntime) {
		return fmt.Errorf("specified default runtime '%s' does not exist", d.DefaultRuntime)
	}
	return nil
}

// knownRuntime says that a runtime needs no configuration: runc, or the name of a shim.
func knownRuntime(name string) bool {
	return name == stockRuntime || strings.HasPrefix(name, "io.containerd.") || filepath.IsAbs(name)
}

// validateLabels leaves each label once.
func (c *Config) validateLabels() error {
	seen := map[string]string{}
	kept := []string{}
	for _, label := range c.Labels {
		key, val, ok := strings.Cut(label, "=")
		if !ok {
			return fmt.Errorf("bad attribute format: %s", label)
		}
		old, again := seen[key]
		if again && old != val {
			return fmt.Errorf("conflict labels for %s=%s and %s=%s", key, val, key, old)
		}
		if !again {
			kept = append(kept, label)
		}
		seen[key] = val
	}
	c.Labels = kept
	return nil
}

// validateHosts makes addresses complete, and refuses to give root on this machine to whoever can reach a port.
func (c *Config) validateHosts() error {
	hosts := []string{}
	for _, h := range c.Hosts {
		full, err := parseHost(h)
		if err != nil {
			return err
		}
		if strings.HasPrefix(full, "tcp://") && !c.TLS.Verify {
			return fmt.Errorf("%s: who can connect to it is root on this machine: it is served with --tlsverify only", full)
		}
		if !slices.Contains(hosts, full) {
			hosts = append(hosts, full)
		}
	}
	c.Hosts = hosts
	return nil
}

func checkHost(h string) error {
	if strings.TrimSpace(h) == "" {
		return nil
	}
	_, err := parseHost(h)
	return err
}

func parseHost(h string) (string, error) {
	h = strings.TrimSpace(h)
	proto, addr, ok := strings.Cut(h, "://")
	if !ok {
		proto, addr = "tcp", h
	}
	switch proto {
	case "fd":
		return h, nil
	case "unix":
		if strings.Contains(addr, "://") {
			return "", fmt.Errorf("invalid bind address (%s): invalid unix address: %s", h, addr)
		}
		if addr == "" {
			return defaultHost(""), nil
		}
		return "unix://" + addr, nil
	case "tcp":
		return parseTCP(h, addr)
	}
	return "", fmt.Errorf("invalid bind address (%s): unsupported proto '%s'", h, proto)
}

func parseTCP(h, addr string) (string, error) {
	u, err := url.Parse("tcp://" + addr)
	if err == nil && u.Path != "" {
		err = errors.New("should not contain a path element")
	}
	if err != nil {
		return "", fmt.Errorf("invalid bind address (%s): %w", h, err)
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "2376"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("invalid bind address (%s): invalid port: %s", h, port)
	}
	return "tcp://" + net.JoinHostPort(host, port), nil
}

func checkMirror(m string) error {
	if scheme, _, ok := strings.Cut(m, "://"); !ok || scheme == "" {
		return fmt.Errorf("invalid mirror: no scheme specified for %q: must use either 'https://' or 'http://'", m)
	}
	u, err := url.Parse(m)
	switch {
	case err != nil:
		return fmt.Errorf("invalid mirror: %q is not a valid URI: %w", m, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("invalid mirror: unsupported scheme %q in %q: must use either 'https://' or 'http://'", u.Scheme, m)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("invalid mirror: query or fragment at end of the URI %q", m)
	case u.User != nil:
		return fmt.Errorf("invalid mirror: username/password not allowed in URI %q", u.Redacted())
	}
	return nil
}

// checkVersion wants a version that can be served.
func checkVersion(v string) error {
	if strings.HasPrefix(strings.ToLower(v), "v") {
		return errors.New(`API version must be provided without "v" prefix`)
	}
	n, err := minor(v)
	lowest, _ := minor(MinAPI)
	highest, _ := minor(MaxAPI)
	switch {
	case v == "":
		return errors.New("value is empty")
	case err != nil:
		return err
	case n < lowest:
		return fmt.Errorf("minimum supported API version is %s: %s", MinAPI, v)
	case n > highest:
		return fmt.Errorf("maximum supported API version is %s: %s", MaxAPI, v)
	}
	return nil
}

// minor is the number behind "1.".
func minor(v string) (int, error) {
	major, n, ok := strings.Cut(v, ".")
	if !ok || major != "1" {
		return 0, fmt.Errorf("%q is not of the form 1.41", v)
	}
	return strconv.Atoi(n)
}
