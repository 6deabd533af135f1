package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/fault"
)

const (
	defaultLimit, maxLimit = 25, 100
	// standaloneHeader is how an index says that it is somebody's own.
	standaloneHeader = "X-Docker-Registry-Standalone"
)

// Search is what to look for.
type Search struct {
	// Term may begin with a registry's host.
	Term string
	// Limit is 25 when 0, and 100 at most.
	Limit int
	// Official is nil for any; Stars is the least; Automated finds nothing, because no index has had any for years.
	Official  *bool
	Stars     int
	Automated bool
}

// Search asks an index, which is not part of a registry: most have none.
func (s *Service) Search(ctx context.Context, q Search, r Request) ([]registry.SearchResult, error) {
	if q.Automated {
		return []registry.SearchResult{}, nil
	}
	if strings.Contains(q.Term, "://") {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid repository name: repository name (%s) should not have a scheme", q.Term)
	}
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	x, err := s.index(ctx, &q, r)
	if err != nil {
		return nil, err
	}
	defer x.client.CloseIdleConnections()
	if q.Limit < 1 || q.Limit > maxLimit {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "limit %d is outside the range of [1, %d]", q.Limit, maxLimit)
	}
	all, err := x.search(ctx, q)
	if err != nil {
		return nil, err
	}
	results := []registry.SearchResult{}
	for _, found := range all {
		if q.Official != nil && *q.Official != found.IsOfficial || found.StarCount < q.Stars {
			continue
		}
		found.IsAutomated = false //nolint:staticcheck // the field is still answered
		results = append(results, found)
	}
	return results, nil
}

// index is an index that can be asked.
type index struct {
	client *http.Client
	// base ends in /v1/.
	base  string
	agent string
	meta  http.Header
	auth  registry.AuthConfig
	// own says that it gets the credentials with each request; hub that it is the default one.
	own, hub bool
	n        *session
}

// index finds the index that a term is for, and takes its host off the term.
func (s *Service) index(ctx context.Context, q *Search, r Request) (*index, error) {
	host, term, ok := strings.Cut(q.Term, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, term = hubName, q.Term
	}
	if host == hubIndex {
		host = hubName
	}
	q.Term = term
	now := s.settings.Load()
	x := &index{agent: now.userAgent(r.UserAgent), meta: r.Meta}
	if r.Auth != nil {
		x.auth = *r.Auth
	}
	secure := now.endpoints.secure(ctx, host)
	client, err := now.endpoints.client(host, secure)
	if err != nil {
		return nil, err
	}
	client.Transport = now.guard.wrap(client.Transport)
	x.client = client
	if host == hubName {
		q.Term = strings.TrimPrefix(term, "library/")
		x.base, x.hub = hubKey, true
	} else if err := x.find(ctx, host, secure); err != nil {
		client.CloseIdleConnections()
		return nil, err
	}
	if x.auth.IdentityToken != "" && x.auth.Username != "" {
		x.n = s.session(nil, r)
	}
	return x, nil
}

// find sees whether a host has an index at all, and by which scheme.
func (x *index) find(ctx context.Context, host string, secure bool) error {
	x.base = "https://" + host + "/v1/"
	err := x.ping(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case secure:
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid registry endpoint %s: %w. If this private registry supports only HTTP or HTTPS "+
			"with an unknown CA certificate, add `--insecure-registry %[3]s` to the daemon's arguments. In the case of HTTPS, if you have "+
			"access to the registry's CA certificate, no need for the flag; place the CA certificate at /etc/docker/certs.d/%[3]s/ca.crt",
			x.base, err, host)
	}
	slog.Debug("an insecure registry has no HTTPS", "host", host, "error", err)
	x.base = "http://" + host + "/v1/"
	if err2 := x.ping(ctx); err2 != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid registry endpoint %q. HTTPS attempt: %w. HTTP attempt: %w", x.base, err, err2)
	}
	return nil
}

// ping also learns whether the index wants credentials with each request.
func (x *index) ping(ctx context.Context) error {
	response, err := x.get(ctx, x.base+"_ping")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	told := struct {
		Standalone bool `json:"standalone"`
	}{true}
	if v := response.Header.Get(standaloneHeader); v != "" {
		told.Standalone = v == "1" || strings.EqualFold(v, "true")
	} else {
		_ = json.NewDecoder(response.Body).Decode(&told) // what cannot be read is a registry of later days
	}
	x.own = told.Standalone && strings.HasPrefix(x.base, "https://")
	return nil
}

func (x *index) get(ctx context.Context, address string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, x.meta)
	r.Header.Set("User-Agent", x.agent)
	if x.auth.Username != "" && (x.own || x.hub) {
		r.SetBasicAuth(x.auth.Username, x.auth.Password)
	}
	return x.client.Do(r)
}

func (x *index) search(ctx context.Context, q Search) ([]registry.SearchResult, error) {
	address := x.base + "search?q=" + url.QueryEscape(q.Term) + "&n=" + strconv.Itoa(q.Limit)
	response, err := x.ask(ctx, address)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("unexpected status code %d", response.StatusCode)
	}
	var found registry.SearchResults
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		return nil, fmt.Errorf("error decoding registry search results: %w", err)
	}
	return found.Results, nil
}

// ask uses a token where the client has one for tokens.
func (x *index) ask(ctx context.Context, address string) (*http.Response, error) {
	if x.n == nil {
		return x.get(ctx, address)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	host := docker.RegistryHost{Client: x.client, Authorizer: authorizerAt(u.Host, x.auth, x.client)}
	return x.n.get(docker.WithScope(ctx, "registry:catalog:search"), host, u, "application/json")
}
