package registry

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
)

// session is one client's talk with registries: its credentials and its connections.
type session struct {
	*settings
	ref     reference.Named
	auth    registry.AuthConfig
	header  http.Header
	tracker docker.StatusTracker
	mu      sync.Mutex
	// known are the hosts of each registry, so that their tokens and connections are used again.
	known map[string][]docker.RegistryHost
}

// session starts a talk about a repository. Its end must be called.
func (s *Service) session(ref reference.Named, r Request) *session {
	n := &session{settings: s.settings.Load(), ref: ref, tracker: docker.NewInMemoryTracker(), known: map[string][]docker.RegistryHost{}}
	if r.Auth != nil {
		n.auth = *r.Auth
	}
	n.header = r.Meta.Clone()
	if n.header == nil {
		n.header = http.Header{}
	}
	n.header.Set("User-Agent", n.userAgent(r.UserAgent))
	return n
}

// end gives the connections back.
func (n *session) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, hosts := range n.known {
		for _, h := range hosts {
			h.Client.CloseIdleConnections()
		}
	}
}

func (n *session) resolver(ctx context.Context) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   func(name string) ([]docker.RegistryHost, error) { return n.hosts(ctx, name) },
		Tracker: n.tracker,
		Headers: n.header,
	})
}

// hosts are a registry's, with the guard and the credentials of this talk.
func (n *session) hosts(ctx context.Context, name string) ([]docker.RegistryHost, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if hosts, ok := n.known[name]; ok {
		return hosts, nil
	}
	hosts, err := n.endpoints.hosts(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range hosts {
		client := *hosts[i].Client
		client.Transport = n.guard.wrap(client.Transport)
		hosts[i].Client = &client
		hosts[i].Authorizer = authorizer(n.auth, n.ref, &client)
	}
	n.known[name] = hosts
	return hosts, nil
}

// authorizer uses credentials at the host that they are for, and nowhere else: neither at a mirror nor where an answer
// redirects to.
func authorizer(auth registry.AuthConfig, ref reference.Named, client *http.Client) docker.Authorizer {
	owner := credentialHost(auth.ServerAddress)
	if owner == "" {
		owner = reference.Domain(ref)
	}
	if owner == hubIndex || owner == hubName {
		owner = hubHost
	}
	return authorizerAt(owner, auth, client)
}

func authorizerAt(owner string, auth registry.AuthConfig, client *http.Client) docker.Authorizer {
	if auth.RegistryToken != "" {
		return bearer{host: owner, token: auth.RegistryToken}
	}
	credentials := func(host string) (string, string, error) {
		if host != owner {
			return "", "", nil
		}
		if auth.IdentityToken != "" {
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}
	return docker.NewDockerAuthorizer(docker.WithAuthCreds(credentials), docker.WithAuthClient(client))
}

// credentialHost is the host of a server address, which may be a URL as old files have them.
func credentialHost(address string) string {
	for _, scheme := range []string{"http://", "https://"} {
		address = strings.TrimPrefix(address, scheme)
	}
	host, _, _ := strings.Cut(address, "/")
	return host
}

// bearer is a token that the client got somewhere else.
type bearer struct{ host, token string }

// Authorize implements docker.Authorizer.
func (b bearer) Authorize(_ context.Context, r *http.Request) error {
	if r.URL.Host == b.host {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return nil
}

// AddResponses implements docker.Authorizer: there is nothing else to try.
func (bearer) AddResponses(context.Context, []*http.Response) error { return errdefs.ErrNotImplemented }

// AuthFor finds the credentials of a repository's registry in those of a configuration file, whose keys are hosts, or
// URLs as they once were.
func AuthFor(all map[string]registry.AuthConfig, ref reference.Named) *registry.AuthConfig {
	key := reference.Domain(ref)
	if key == hubName || key == hubIndex {
		a := all[hubKey]
		return &a
	}
	if a, ok := all[key]; ok {
		return &a
	}
	for address, a := range all {
		if credentialHost(address) == key {
			return &a
		}
	}
	return &registry.AuthConfig{}
}
