package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// client talks to one host, with its certificates; an insecure one needs none.
func (e *endpoints) client(host string, secure bool) (*http.Client, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !secure}
	if secure {
		if err := loadCerts(filepath.Join(e.certs, host), c); err != nil {
			return nil, err
		}
	}
	return &http.Client{Transport: docker.DefaultHTTPTransport(c)}, nil
}

// loadCerts reads a host's folder: authorities (.crt), and pairs of a client's certificate and key (.cert, .key).
func loadCerts(dir string, c *tls.Config) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	names := map[string]bool{}
	for _, f := range files {
		names[f.Name()] = true
	}
	for name := range names {
		stem := strings.TrimSuffix(name, filepath.Ext(name))
		switch filepath.Ext(name) {
		case ".crt":
			err = addAuthority(filepath.Join(dir, name), c)
		case ".cert":
			if !names[stem+".key"] {
				return fault.Errorf(errdefs.ErrInvalidArgument, "missing key %s.key for client certificate %s. "+
					"CA certificates must use the extension .crt", stem, name)
			}
			var pair tls.Certificate
			pair, err = tls.LoadX509KeyPair(filepath.Join(dir, name), filepath.Join(dir, stem+".key"))
			c.Certificates = append(c.Certificates, pair)
		case ".key":
			if !names[stem+".cert"] {
				return fault.Errorf(errdefs.ErrInvalidArgument, "missing client certificate %s.cert for key %s", stem, name)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func addAuthority(path string, c *tls.Config) error {
	if c.RootCAs == nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "unable to get system cert pool: %w", err)
		}
		c.RootCAs = pool
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	c.RootCAs.AppendCertsFromPEM(pem)
	return nil
}
