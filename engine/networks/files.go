package networks

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/container"
)

// The host's files, variables for tests.
var (
	hostResolv = "/etc/resolv.conf"
	// hostResolved is what systemd-resolved wrote for who cannot reach its stub.
	hostResolved = "/run/systemd/resolve/resolv.conf"
	hostHosts    = "/etc/hosts"
)

// stub is where systemd-resolved listens; a container has no such address.
var stub = netip.MustParseAddr("127.0.0.53")

// resolv is a resolv.conf(5), in its parts.
type resolv struct {
	servers               []netip.Addr
	search, options, rest []string
	invalid, warnings     []string
	// external are those that our own server asks; ownNdots says that we set the option.
	external []string
	ownNdots bool
}

func parseResolv(b []byte) resolv {
	var r resolv
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
			continue
		}
		switch words[0] {
		case "nameserver":
			if len(words) < 2 {
				continue
			}
			if a, err := netip.ParseAddr(words[1]); err == nil {
				r.servers = append(r.servers, a)
			} else {
				r.invalid = append(r.invalid, words[1])
			}
		case "search", "domain":
			if len(words) > 1 {
				r.search = words[1:]
			}
		case "options":
			r.options = append(r.options, words[1:]...)
		default:
			r.rest = append(r.rest, line)
		}
	}
	return r
}

// hostFile reads the host's resolv.conf, or the one behind systemd-resolved's stub.
func hostFile() (path string, r resolv) {
	for _, path = range []string{hostResolv, hostResolved} {
		b, err := os.ReadFile(path)
		if err != nil {
			break
		}
		r = parseResolv(b)
		if len(r.servers) != 1 || r.servers[0] != stub {
			return path, r
		}
	}
	return hostResolv, r
}

// resolver is where names are answered in containers on networks of users.
var resolver = netip.MustParseAddr("127.0.0.11")

// resolvConf is the container's: the host's, with what the container or the engine asks for in its place.
func resolvConf(c *container.Container, d *config.Network, b *sandbox) []byte {
	path, r := hostFile()
	hc := c.HostConfig
	var overrides []string
	override := func(name string, given bool) bool {
		if given {
			overrides = append(overrides, name)
		}
		return given
	}
	if servers := first(hc.DNS, d.DNS); override("nameservers", len(servers) > 0) {
		r.servers = servers
	}
	if search := first(hc.DNSSearch, d.DNSSearch); override("search", len(search) > 0) {
		r.search = slices.DeleteFunc(slices.Clone(search), func(s string) bool { return s == "." })
	}
	ndots := "host"
	if options := first(hc.DNSOptions, d.DNSOptions); override("options", len(options) > 0) {
		r.options, ndots = options, "override"
	}
	transform := ""
	switch {
	case b.Host:
	case b.resolves():
		transform = " (internal resolver)"
		r.internal(slices.Contains(overrides, "nameservers"))
	default:
		transform = " (legacy)"
		if !slices.Contains(overrides, "nameservers") {
			r.withoutLoopback(b.hasIPv6())
		}
	}
	return r.format(path+"'"+transform, overrides, r.ndots(ndots))
}

// internal puts our own server in the place of the others, which it asks.
func (r *resolv) internal(overridden bool) {
	for _, a := range r.servers {
		if overridden {
			r.external = append(r.external, a.String())
		} else {
			r.external = append(r.external, "host("+a.String()+")")
		}
	}
	if len(r.external) == 0 {
		r.warnings = append(r.warnings, "NO EXTERNAL NAMESERVERS DEFINED")
	}
	r.servers = []netip.Addr{resolver}
	// A name without a dot may be a container's.
	r.options = slices.DeleteFunc(slices.Clone(r.options), func(o string) bool {
		name, value, _ := strings.Cut(o, ":")
		n, err := strconv.Atoi(value)
		return name == "ndots" && (err != nil || n < 0)
	})
	if len(r.ndots("")) == 0 {
		r.options = append(r.options, "ndots:0")
		r.ownNdots = true
	}
}

func (b *sandbox) hasIPv6() bool {
	return slices.ContainsFunc(b.Endpoints, func(e *endpoint) bool { return e.IPv6.IsValid() })
}

func first[T any](own, others []T) []T {
	if len(own) > 0 {
		return own
	}
	return others
}

// withoutLoopback drops servers that only the host can reach. Without a server left, there are public ones.
func (r *resolv) withoutLoopback(ipv6 bool) {
	r.servers = slices.DeleteFunc(slices.Clone(r.servers), func(a netip.Addr) bool { return a.IsLoopback() || a.Is6() && !ipv6 })
	if len(r.servers) == 0 {
		r.servers = []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")}
		if ipv6 {
			r.servers = append(r.servers, netip.MustParseAddr("2001:4860:4860::8888"), netip.MustParseAddr("2001:4860:4860::8844"))
		}
		r.warnings = []string{"Used default nameservers."}
	}
}

func (r *resolv) ndots(from string) []string {
	if r.ownNdots {
		from = "internal"
	}
	for _, o := range r.options {
		if strings.HasPrefix(o, "ndots:") || o == "ndots" {
			return []string{"Option ndots from: " + from}
		}
	}
	return nil
}

func (r *resolv) format(source string, overrides, notes []string) []byte {
	var b bytes.Buffer
	b.WriteString("# Generated by Docker Engine.\n# This file can be edited; Docker Engine will not make further changes once it\n# has been modified.\n\n")
	for _, a := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	for _, line := range r.rest {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "\n# Based on host file: '%s\n", source)
	for _, w := range r.warnings {
		fmt.Fprintf(&b, "# %s\n", w)
	}
	if len(r.external) > 0 {
		fmt.Fprintf(&b, "# ExtServers: %v\n", r.external)
	}
	if len(r.invalid) > 0 {
		fmt.Fprintf(&b, "# Invalid nameservers: %v\n", r.invalid)
	}
	fmt.Fprintf(&b, "# Overrides: %v\n", overrides)
	for _, n := range notes {
		fmt.Fprintf(&b, "# %s\n", n)
	}
	return b.Bytes()
}

// hosts is the container's /etc/hosts. With the host's network it is the host's own, unless something is to be added.
func (s *Service) hosts(c *container.Container, b *sandbox) ([]byte, error) {
	if b.Host && len(c.HostConfig.ExtraHosts) == 0 {
		content, err := os.ReadFile(hostHosts)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return content, nil
	}
	var out bytes.Buffer
	out.WriteString("127.0.0.1\tlocalhost\n")
	if !withoutIPv6(c) {
		out.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	}
	extra, err := s.extraHosts(c)
	if err != nil {
		return nil, err
	}
	linked, err := s.linkedHosts(c, b)
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Concat(extra, linked) {
		out.WriteString(l)
	}
	for _, e := range b.Endpoints {
		for _, l := range ownHosts(c, e) {
			out.WriteString(l)
		}
	}
	return out.Bytes(), nil
}

// hostGateway stands for the host's address in --add-host.
const hostGateway = "host-gateway"

func (s *Service) extraHosts(c *container.Container) (lines []string, err error) {
	for _, extra := range c.HostConfig.ExtraHosts {
		name, value, _ := strings.Cut(extra, ":")
		if value == hostGateway {
			gateways, err := s.gatewayIPs()
			if err != nil {
				return nil, err
			}
			for _, ip := range gateways {
				lines = append(lines, fmt.Sprintf("%s\t%s\n", ip.Unmap(), name))
			}
			continue
		}
		ip, err := netip.ParseAddr(strings.Trim(value, "[]"))
		if err != nil {
			slog.Warn("a host's address is left out", "container", c.ID, "host", extra, "error", err)
			continue
		}
		lines = append(lines, fmt.Sprintf("%s\t%s\n", ip.Unmap(), name))
	}
	return lines, nil
}

// gatewayIPs are what host-gateway means: what was configured, or else the default bridge's addresses.
func (s *Service) gatewayIPs() (list []netip.Addr, err error) {
	if d := s.o.Defaults(); len(d.HostGatewayIPs) > 0 {
		return d.HostGatewayIPs, nil
	}
	if n, err := s.find(network.NetworkBridge); err == nil {
		for _, c := range n.IPAM.Config {
			list = append(list, c.Gateway)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("unable to derive the IP value for host-gateway")
	}
	return list, nil
}

// ownHosts are the container's own names, at its addresses on a network.
func ownHosts(c *container.Container, e *endpoint) (lines []string) {
	name := c.Config.Hostname
	if c.Config.Domainname != "" {
		name += "." + c.Config.Domainname
	}
	if short, _, found := strings.Cut(name, "."); found {
		name += " " + short
	}
	for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
		if a.IsValid() {
			lines = append(lines, fmt.Sprintf("%s\t%s\n", a.Addr(), name))
		}
	}
	return lines
}

// writeFiles writes what is bound into a container that starts.
func (s *Service) writeFiles(c *container.Container, b *sandbox) error {
	lines, err := s.hosts(c, b)
	if err != nil {
		return err
	}
	dir := s.o.Records.Dir(c.ID)
	for name, content := range map[string][]byte{"resolv.conf": resolvConf(c, s.o.Defaults(), b), "hosts": lines} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // everybody in the container reads it
			return err
		}
	}
	s.tellParents(c, b)
	return nil
}

// changeFiles brings those of a running container up to date. What the container wrote into them stays.
func (s *Service) changeFiles(c *container.Container, st step) error {
	dir := s.o.Records.Dir(c.ID)
	var add, drop []string
	if st.more != nil {
		add = ownHosts(c, st.more)
	}
	if st.less != nil {
		drop = ownHosts(c, st.less)
	}
	err := editHosts(filepath.Join(dir, "hosts"), func(line string) (string, bool) {
		return line, !slices.Contains(drop, line)
	}, add)
	if st.from.resolves() || !st.to.resolves() {
		return err // who had our server has it still, with less to ask
	}
	path := filepath.Join(dir, "resolv.conf")
	before, readErr := os.ReadFile(path)
	if readErr != nil || !bytes.Equal(before, resolvConf(c, s.o.Defaults(), st.from)) {
		return errors.Join(err, readErr) // the container's own
	}
	return errors.Join(err, os.WriteFile(path, resolvConf(c, s.o.Defaults(), st.to), 0o644)) //nolint:gosec // everybody in the container reads it
}

// editHosts changes a file in its place: it is bound into the container.
func editHosts(path string, keep func(line string) (string, bool), add []string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(content)) {
		if line, ok := keep(line); ok {
			out.WriteString(line)
		}
	}
	for _, l := range add {
		out.WriteString(l)
	}
	if bytes.Equal(out.Bytes(), content) {
		return nil
	}
	return os.WriteFile(path, out.Bytes(), 0o644) //nolint:gosec // everybody in the container reads it
}
