package plugins

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-connections/tlsconfig"
)

const (
	// callPatience is how long a plugin may think about one call.
	callPatience = 30 * time.Second
	// findPatience is how long a plugin may be away, as when it is replaced.
	findPatience = 15 * time.Second
	firstPause   = 100 * time.Millisecond
	lastPause    = 2 * time.Second
	// maxAnswer is how long an answer may be, in bytes.
	maxAnswer = 1 << 20
	// accept is the version of the protocol.
	accept = "application/vnd.docker.plugins.v1.2+json"
)

// Plugin is a plugin by its name. It is looked up when it is called first, and again when it could not be reached.
type Plugin struct {
	name, kind string
	folders    Folders
	patience   time.Duration

	mu     sync.Mutex
	client *client
}

// New is a plugin that must implement a kind ("authz"). Nobody is asked yet.
func New(f Folders, name, kind string) *Plugin {
	return &Plugin{name: name, kind: kind, folders: f, patience: findPatience}
}

// Name is the plugin's name.
func (p *Plugin) Name() string { return p.name }

// Call asks the plugin. A plugin that is not there is waited for; one that was reached is asked once.
func (p *Plugin) Call(ctx context.Context, method string, in, out any) error {
	late := time.Now().Add(p.patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := p.try(ctx, method, in, out)
		if err == nil || !away(err) || time.Now().Add(pause).After(late) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Activate finds the plugin, and makes sure that it is of its kind.
func (p *Plugin) Activate(ctx context.Context) error { return p.Call(ctx, "", nil, nil) }

// away says that nobody was there to hear a call.
func away(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" || errdefs.IsNotFound(err)
}

func (p *Plugin) try(ctx context.Context, method string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil || method == "" {
		return err
	}
	if err = c.call(ctx, method, in, out); err != nil && away(err) {
		p.forget(c)
	}
	return err
}

// connect finds the plugin and shakes hands, if that was not done before.
func (p *Plugin) connect(ctx context.Context) (*client, error) {
	p.mu.Lock()
	c := p.client
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	a, err := p.folders.find(p.name)
	if err != nil {
		return nil, err
	}
	if c, err = dial(a); err != nil {
		return nil, err
	}
	var manifest struct{ Implements []string }
	if err := c.call(ctx, "Plugin.Activate", nil, &manifest); err != nil {
		return nil, err
	}
	if !slices.Contains(manifest.Implements, p.kind) {
		return nil, fmt.Errorf("plugin %q does not implement %q", p.name, p.kind)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client = c
	return c, nil
}

// forget makes the next call look the plugin up again.
func (p *Plugin) forget(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == c {
		p.client = nil
	}
}

// client speaks with a plugin at an address.
type client struct {
	http http.Client
	base string
}

// localHost stands for the host in calls over a socket.
const localHost = "plugin.moby.localhost"

func dial(a address) (*client, error) {
	u, err := url.Parse(a.Addr)
	if err != nil {
		return nil, err
	}
	network, to := "tcp", u.Host
	c := &client{base: "http://" + u.Host + "/"}
	switch u.Scheme {
	case "unix":
		network, to, c.base = "unix", u.Path, "http://"+localHost+"/"
	case "https":
		c.base = "https://" + u.Host + "/"
	}
	conf, err := clientTLS(a.TLSConfig)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c.http = http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, network, withPort(network, to, u.Scheme))
			},
			TLSClientConfig: conf, DisableCompression: true, IdleConnTimeout: time.Minute,
		},
		// What a plugin is told stays with it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// withPort completes an address that has no port.
func withPort(network, to, scheme string) string {
	if _, _, err := net.SplitHostPort(to); err == nil || network == "unix" {
		return to
	}
	port := "80"
	if scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(to, port)
}

// clientTLS is what a plugin's file says about TLS; a file that says nothing relies on the machine's authorities.
func clientTLS(o *tlsconfig.Options) (*tls.Config, error) {
	if o == nil {
		return nil, nil
	}
	return tlsconfig.Client(*o)
}

func (c *client) call(ctx context.Context, method string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+method, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", accept)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	case len(b) > maxAnswer:
		return fmt.Errorf("%s: the answer is longer than %d bytes", method, maxAnswer)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", method, complaint(b))
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s: invalid answer: %w", method, err)
	}
	return nil
}

// complaint is what a plugin says that refuses a call.
func complaint(b []byte) string {
	var said struct{ Err string }
	if json.Unmarshal(b, &said) == nil && said.Err != "" {
		return said.Err
	}
	return string(b)
}
