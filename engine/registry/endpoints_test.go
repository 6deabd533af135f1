package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/registry"
)

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		config Config
		text   string
	}{
		{Config{Mirrors: []string{"mirror:5000"}}, `invalid mirror: no scheme specified for "mirror:5000": must use either 'https://' or 'http://'`},
		{Config{Mirrors: []string{"ftp://m"}}, `invalid mirror: unsupported scheme "ftp" in "ftp://m": must use either 'https://' or 'http://'`},
		{Config{Mirrors: []string{"http://m/?a"}}, `invalid mirror: query or fragment at end of the URI "http://m/?a"`},
		{Config{Mirrors: []string{"http://a:b@m/"}}, `invalid mirror: username/password not allowed in URI "http://a:xxxxx@m/"`},
		{Config{Insecure: []string{"-x"}}, "invalid index name (-x). Cannot begin or end with a hyphen"},
		{Config{Insecure: []string{"ftp://x"}}, "insecure registry ftp://x should not contain '://'"},
		{Config{Insecure: []string{"a b"}}, `insecure registry a b is not valid: invalid host "a b"`},
		{Config{Insecure: []string{"host:70000"}}, `insecure registry host:70000 is not valid: invalid port "70000"`},
	} {
		if _, err := New(Options{Config: c.config}); err == nil || err.Error() != c.text {
			t.Errorf("%v, not %s", err, c.text)
		}
	}
}

func TestSecure(t *testing.T) {
	e, err := newEndpoints(Config{Insecure: []string{"plain.example:5000", "https://schemed.example", "192.0.2.0/24", "docker.io"}})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"127.0.0.1:5000": false, "127.9.9.9": false, "[::1]:5000": false, "localhost:5000": false, "plain.example:5000": false,
		"schemed.example": false, "192.0.2.7:443": false, "198.51.100.1": true, "docker.io": true, "registry-1.docker.io": true,
	} {
		if got := e.secure(t.Context(), host); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
}

func TestHosts(t *testing.T) {
	e, err := newEndpoints(Config{Mirrors: []string{"http://127.0.0.1:5000", "https://mirror.example/cache/", "https://v2.example/v2"}, CertsDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"docker.io": {
			"http://127.0.0.1:5000/v2", "https://mirror.example/cache/v2", "https://v2.example/v2", "https://registry-1.docker.io/v2",
		},
		"192.0.2.1:5000": {"https://192.0.2.1:5000/v2"},
		"127.0.0.1:5000": {"https://127.0.0.1:5000/v2"}, // and HTTP when that fails
	} {
		hosts, err := e.hosts(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hosts {
			got = append(got, h.Scheme+"://"+h.Host+h.Path)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}

// What is set for docker.io does not make a mirror get its credentials.
func TestMirror(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{Mirrors: []string{srv.URL}})
	srv.image(t, "v1", "one")
	auth := &registry.AuthConfig{Username: "joe", Password: "secret"}
	got, err := pullFrom(t, s, "a/image:v1", Request{Auth: auth})
	if err != nil || !contains(got, "Status: Downloaded newer image for a/image:v1") {
		t.Error(got, err)
	}
}

func TestAuthFor(t *testing.T) {
	all := map[string]registry.AuthConfig{
		"https://index.docker.io/v1/": {Username: "hub"}, "own.example:5000": {Username: "own"}, "https://old.example/v1/": {Username: "old"},
	}
	for name, want := range map[string]string{
		"busybox": "hub", "own.example:5000/a": "own", "old.example/a/b": "old", "own.example/a": "", "other.example/a": "",
	} {
		if got := AuthFor(all, parse(t, name)); got.Username != want {
			t.Errorf("%s: %q", name, got.Username)
		}
	}
}

func TestUserAgent(t *testing.T) {
	s := &settings{Config: Config{UserAgent: "docker/1 go/2"}}
	if got := s.userAgent(`Docker-Client/1 (linux; x)`); got != `docker/1 go/2 UpstreamClient(Docker-Client/1 \(linux\; x\))` {
		t.Error(got)
	}
	if got := s.userAgent(""); got != "docker/1 go/2" {
		t.Error(got)
	}
}
