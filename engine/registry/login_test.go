package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/registry"
)

// tokens is a registry that takes tokens, and the server that gives them to joe.
func tokens(t *testing.T) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token" && r.Method == http.MethodPost:
			if r.FormValue("grant_type") != "refresh_token" || r.FormValue("refresh_token") != "for later" || r.FormValue("client_id") != "docker" {
				http.Error(w, `{"details":"unknown token"}`, http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"access_token": "t"})
		case r.URL.Path == "/token":
			if user, password, _ := r.BasicAuth(); user != "joe" || password != "secret" || r.URL.Query().Get("offline_token") != "true" {
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`, http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "t", "refresh_token": "for later"})
		case r.Header.Get("Authorization") != "Bearer t":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, s.URL))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestLogin(t *testing.T) {
	s := newManager(t).service(t, Config{UserAgent: "docker/1"})
	withTokens := strings.TrimPrefix(tokens(t).URL, "http://")
	open := newServer(t)
	for _, c := range []struct {
		name   string
		auth   registry.AuthConfig
		token  string
		status int
		text   string
	}{
		{"no credentials wanted", registry.AuthConfig{ServerAddress: open.host()}, "", 200, ""},
		{"as an address", registry.AuthConfig{ServerAddress: open.URL + "/v1/"}, "", 200, ""},
		{"password", registry.AuthConfig{Username: "joe", Password: "secret", ServerAddress: withTokens}, "for later", 200, ""},
		{"identity token", registry.AuthConfig{IdentityToken: "for later", ServerAddress: withTokens}, "for later", 200, ""},
		{
			"wrong password",
			registry.AuthConfig{Username: "joe", Password: "x", ServerAddress: withTokens},
			"", 401,
			`Get "http://` + withTokens + `/v2/": unauthorized: incorrect username or password`,
		},
		{
			"wrong token",
			registry.AuthConfig{IdentityToken: "x", ServerAddress: withTokens},
			"", 401,
			`Get "http://` + withTokens + `/v2/": unauthorized: unknown token`,
		},
		{
			"bad address",
			registry.AuthConfig{ServerAddress: "http://a b"},
			"", 400,
			`unable to parse server address: parse "http://a b": invalid character " " in host name`,
		},
	} {
		token, err := s.Login(t.Context(), Request{Auth: &c.auth})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if token != c.token || status(err) != c.status || text != c.text {
			t.Errorf("%s: %q, %d, %s", c.name, token, status(err), text)
		}
	}
}

func TestSearch(t *testing.T) {
	s := newManager(t).service(t, Config{})
	srv := newServer(t)
	srv.lies(instead("/v1/search", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("q") != "a/b" || q.Get("n") != "25" {
			t.Error(q)
		}
		_, _ = io.WriteString(w, `{"results":[{"name":"a/b","star_count":3,"is_official":true,"is_automated":true},{"name":"a/bc","star_count":1}]}`)
	}))
	yes := true
	for _, c := range []struct {
		search Search
		want   []string
	}{
		{Search{}, []string{"a/b", "a/bc"}},
		{Search{Stars: 2}, []string{"a/b"}},
		{Search{Official: &yes}, []string{"a/b"}},
		{Search{Automated: true}, nil},
	} {
		c.search.Term = srv.host() + "/a/b"
		found, err := s.Search(t.Context(), c.search, Request{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range found {
			names = append(names, f.Name)
			if f.IsAutomated { //nolint:staticcheck // the field is still answered
				t.Error(f)
			}
		}
		if d := cmp.Diff(c.want, names); d != "" {
			t.Error(d)
		}
	}
	for text, search := range map[string]Search{
		"limit 101 is outside the range of [1, 100]":                                   {Term: srv.host() + "/x", Limit: 101},
		"invalid repository name: repository name (http://x) should not have a scheme": {Term: "http://x"},
	} {
		if _, err := s.Search(t.Context(), search, Request{}); err == nil || err.Error() != text || status(err) != 400 {
			t.Error(err)
		}
	}
	srv.lies(nil)
	if _, err := s.Search(t.Context(), Search{Term: srv.host() + "/x"}, Request{}); err == nil || err.Error() != "unexpected status code 404" {
		t.Error(err)
	}
}
