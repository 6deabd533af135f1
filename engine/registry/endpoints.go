package registry

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	hostconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Names of the default registry: in references, where it is, and where it used to be.
const (
	hubName  = "docker.io"
	hubHost  = "registry-1.docker.io"
	hubIndex = "index.docker.io"
	// hubKey is the default registry's key in files of credentials.
	hubKey = "https://" + hubIndex + "/v1/"
)

// apiPath is the root of a registry's API.
const apiPath = "/v2"

// endpoints knows where registries are, and how far to trust them.
type endpoints struct {
	certs    string
	mirrors  []*url.URL
	insecure map[string]bool
	networks []netip.Prefix
}

func newEndpoints(c Config) (*endpoints, error) {
	e := &endpoints{
		certs:    c.CertsDir,
		insecure: map[string]bool{},
		// A registry on the loopback mostly has no certificate that anybody knows, and nobody listens in between.
		networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	for _, m := range c.Mirrors {
		u, err := ValidateMirror(m)
		if err != nil {
			return nil, err
		}
		e.mirrors = append(e.mirrors, u)
	}
	for _, r := range c.Insecure {
		if err := e.addInsecure(r); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// ValidateMirror reads the URL of a mirror, as dockerd accepts them.
func ValidateMirror(mirror string) (*url.URL, error) {
	invalid := func(format string, args ...any) error {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid mirror: "+format, args...)
	}
	if scheme, _, ok := strings.Cut(mirror, "://"); !ok || scheme == "" {
		return nil, invalid("no scheme specified for %q: must use either 'https://' or 'http://'", mirror)
	}
	u, err := url.Parse(mirror)
	if err != nil {
		return nil, invalid("%q is not a valid URI: %w", mirror, err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, invalid("unsupported scheme %q in %q: must use either 'https://' or 'http://'", u.Scheme, u)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, invalid("query or fragment at end of the URI %q", u)
	case u.User != nil:
		return nil, invalid("username/password not allowed in URI %q", u.Redacted())
	}
	return u, nil
}

// addInsecure remembers a network, or a host with or without a port.
func (e *endpoints) addInsecure(r string) error {
	if r == hubIndex {
		r = hubName
	}
	if strings.HasPrefix(r, "-") || strings.HasSuffix(r, "-") {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid index name (%s). Cannot begin or end with a hyphen", r)
	}
	if scheme, host, ok := strings.Cut(r, "://"); ok {
		if s := strings.ToLower(scheme); s != "http" && s != "https" {
			return fault.Errorf(errdefs.ErrInvalidArgument, "insecure registry %s should not contain '://'", r)
		}
		r = host
	}
	if p, err := netip.ParsePrefix(r); err == nil {
		e.networks = append(e.networks, p.Masked())
		return nil
	}
	if err := validHost(r); err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "insecure registry %s is not valid: %w", r, err)
	}
	e.insecure[r] = true
	return nil
}

// hostPattern is a host with or without a port, as references have it.
var hostPattern = regexp.MustCompile("^" + reference.DomainRegexp.String() + "$")

func validHost(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, ""
	}
	if !hostPattern.MatchString(s) && net.ParseIP(host) == nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid host %q", host)
	}
	if port == "" {
		return nil
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid port %q", port)
	}
	return nil
}

// secure says that a registry ("host" or "host:port") must have a certificate that can be checked.
func (e *endpoints) secure(ctx context.Context, host string) bool {
	if host == hubName || host == hubHost {
		return true
	}
	if e.insecure[host] {
		return false
	}
	for _, a := range addresses(ctx, host) {
		for _, n := range e.networks {
			if n.Contains(a) {
				return false
			}
		}
	}
	return true
}

// addresses are those of a host. One that cannot be found has none, and will be seen to later.
func addresses(ctx context.Context, host string) []netip.Addr {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i, a := range found {
		found[i] = a.Unmap()
	}
	return found
}

// hosts are where the repositories of a registry can be asked for, in order; the registry itself is the last.
func (e *endpoints) hosts(ctx context.Context, name string) ([]docker.RegistryHost, error) {
	options := hostconfig.HostOptions{HostDir: hostconfig.HostDirFromRoot(e.certs), UpdateClient: tune}
	hosts, err := hostconfig.ConfigureHosts(ctx, options)(name)
	if err != nil {
		return nil, err
	}
	// A hosts.toml that names several has said all.
	if len(hosts) != 1 {
		return hosts, nil
	}
	if name == hubName {
		hosts = e.withMirrors(hosts[0])
	}
	for i := range hosts {
		if !e.secure(ctx, hosts[i].Host) {
			trust(&hosts[i])
		}
	}
	return hosts, nil
}

// tune lets a client keep as many connections as layers come at a time.
func tune(client *http.Client) error {
	if t, ok := client.Transport.(*http.Transport); ok {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 32, 16
	}
	return nil
}

// trust takes any certificate of a host, and HTTP if it has none.
func trust(host *docker.RegistryHost) {
	t, ok := host.Client.Transport.(*http.Transport)
	if !ok {
		return // it falls back already
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.InsecureSkipVerify = true
	client := *host.Client
	client.Transport = docker.NewHTTPFallback(t)
	host.Client = &client
}

// withMirrors puts the mirrors before the default registry.
func (e *endpoints) withMirrors(hub docker.RegistryHost) []docker.RegistryHost {
	var hosts []docker.RegistryHost
	for _, m := range e.mirrors {
		h := hub
		h.Capabilities = docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityReferrers
		h.Scheme, h.Host = m.Scheme, m.Host
		h.Path = strings.TrimSuffix(m.Path, "/")
		if !strings.HasSuffix(h.Path, apiPath) {
			h.Path = path.Join("/", h.Path, apiPath)
		}
		hosts = append(hosts, h)
	}
	return append(hosts, hub)
}
