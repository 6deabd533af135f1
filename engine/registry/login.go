package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/fault"
)

// loginTime bounds one attempt to log in.
const loginTime = 15 * time.Second

// clientID is what servers of tokens know Docker's engines by.
const clientID = "docker"

// Login asks a registry whether it takes credentials. Servers that can give a token for later, which is answered.
func (s *Service) Login(ctx context.Context, r Request) (identityToken string, _ error) {
	var auth registry.AuthConfig
	if r.Auth != nil {
		auth = *r.Auth
	}
	host, err := loginHost(auth.ServerAddress)
	if err != nil {
		return "", err
	}
	// Never a mirror: these are credentials of the registry.
	now := s.settings.Load()
	secure := now.endpoints.secure(ctx, host)
	client, err := now.endpoints.client(host, secure)
	if err != nil {
		return "", fault.As(errdefs.ErrInvalidArgument, err)
	}
	defer client.CloseIdleConnections()
	client.Transport = now.guard.wrap(client.Transport)
	client.Timeout = loginTime
	schemes := []string{"https"}
	if !secure {
		schemes = append(schemes, "http")
	}
	for _, scheme := range schemes {
		l := login{client: client, auth: auth, agent: now.userAgent(r.UserAgent), url: scheme + "://" + host + apiPath + "/"}
		var token string
		if token, err = l.try(ctx); err == nil {
			return token, nil
		}
		// The right server said no: nobody else shall get the credentials.
		if ctx.Err() != nil || errdefs.IsUnauthorized(err) {
			break
		}
	}
	return "", err
}

// loginHost is the registry that an address means: the default one when it is empty.
func loginHost(address string) (string, error) {
	if address == "" {
		return hubHost, nil
	}
	if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", fault.Errorf(errdefs.ErrInvalidArgument, "unable to parse server address: %w", err)
	}
	if u.Host == hubIndex || u.Host == hubName {
		return hubHost, nil
	}
	return u.Host, nil
}

// login is one attempt at one address.
type login struct {
	client *http.Client
	auth   registry.AuthConfig
	agent  string
	url    string
}

// try asks without credentials, to learn what is wanted, and then with them.
func (l login) try(ctx context.Context) (string, error) {
	first, err := l.get(ctx, "")
	if err != nil {
		return "", err
	}
	challenges := dockerauth.ParseAuthHeader(first.Header)
	var authorization, token string
	for _, c := range challenges {
		switch c.Scheme {
		case dockerauth.BearerAuth:
			authorization, token, err = l.bearer(ctx, c)
		case dockerauth.BasicAuth:
			authorization, err = l.basic()
		default:
			continue
		}
		break
	}
	if err != nil {
		return "", err
	}
	second, err := l.get(ctx, authorization)
	if err != nil {
		return "", err
	}
	if second.StatusCode != http.StatusOK {
		return "", fmt.Errorf("login attempt to %s failed with status: %d %s", l.url, second.StatusCode, http.StatusText(second.StatusCode))
	}
	return token, nil
}

// get asks, and reads the answer to its end.
func (l login) get(ctx context.Context, authorization string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", l.agent)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := l.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response, err
}

func (l login) basic() (string, error) {
	if l.auth.Username == "" || l.auth.Password == "" {
		return "", &url.Error{Op: "Get", URL: l.url, Err: errors.New("no basic auth credentials")}
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(l.auth.Username, l.auth.Password)
	return r.Header.Get("Authorization"), nil
}

// bearer gets a token from the server that the registry names.
func (l login) bearer(ctx context.Context, c dockerauth.Challenge) (authorization, identityToken string, _ error) {
	o, err := dockerauth.GenerateTokenOptions(ctx, l.url, l.auth.Username, l.auth.Password, c)
	if err != nil {
		return "", "", err
	}
	o.FetchRefreshToken = true
	header := http.Header{"User-Agent": {l.agent}}
	if l.auth.IdentityToken != "" {
		o.Username, o.Secret = "", l.auth.IdentityToken
		t, err := dockerauth.FetchTokenWithOAuth(ctx, l.client, header, clientID, o)
		if err != nil {
			return "", "", l.refused(err)
		}
		if t.RefreshToken == "" {
			t.RefreshToken = l.auth.IdentityToken
		}
		return "Bearer " + t.AccessToken, t.RefreshToken, nil
	}
	t, err := dockerauth.FetchToken(ctx, l.client, header, o)
	if err != nil {
		return "", "", l.refused(err)
	}
	return "Bearer " + t.Token, t.RefreshToken, nil
}

// refused says that the server of tokens did not take the credentials.
func (l login) refused(err error) error {
	failed := &url.Error{Op: "Get", URL: l.url, Err: err}
	var status remoteerrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return failed
	}
	var told struct {
		Errors  []refusal
		Details string
	}
	_ = json.Unmarshal(status.Body, &told) // a page for people tells nothing
	switch {
	case len(told.Errors) > 0:
		failed.Err = told.Errors[0]
	case told.Details != "":
		failed.Err = refusal{"UNAUTHORIZED", told.Details}
	case status.StatusCode == http.StatusUnauthorized:
		failed.Err = refusal{"UNAUTHORIZED", docker.ErrorCodeUnauthorized.Message()}
	}
	var why refusal
	if errors.As(failed.Err, &why) && why.Code == "UNAUTHORIZED" {
		return fault.As(errdefs.ErrUnauthenticated, failed)
	}
	return failed
}
