package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/listen"
	"github.com/gantry-containers/gantry/tests/harness"
)

// open listens, and closes when the test ends.
func open(t *testing.T, c *config.Config) []net.Listener {
	t.Helper()
	all, err := listen.All(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range all {
			_ = l.Close()
		}
	})
	return all
}

func TestUnixSocket(t *testing.T) {
	harness.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "sub", "e.sock")
	// What a killed engine left.
	stale := func() {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	stale()
	all := open(t, &config.Config{Hosts: []string{"unix://" + path}, Group: "7"})
	if got := all[0].Addr().String(); got != path {
		t.Errorf("address %s, want %s", got, path)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*syscall.Stat_t); st.Mode().Perm() != 0o660 || sys.Uid != 0 || sys.Gid != 7 {
		t.Errorf("mode %v, owner %d:%d; want 0660, 0:7", st.Mode(), sys.Uid, sys.Gid)
	}
	if _, err := listen.All(&config.Config{Hosts: []string{"unix://" + path}}); err == nil || !strings.Contains(err.Error(), "another process serves it") {
		t.Errorf("a living socket was taken: %v", err)
	}
	if err := all[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// An address that fails leaves no others behind.
func TestAllOrNone(t *testing.T) {
	harness.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "e.sock")
	all, err := listen.All(&config.Config{Hosts: []string{"unix://" + path, "fd://"}})
	if err == nil || len(all) != 0 {
		t.Fatalf("%d listeners, %v", len(all), err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// identity is a certificate with its key, signed by an authority or by itself.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	tls  tls.Certificate
}

func issue(t *testing.T, dir, name string, by *identity) *identity {
	t.Helper()
	return issueFor(t, filepath.Join(dir, name), by, time.Hour, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
}

// issueFor writes a certificate and its key beside each other. The path's last part is the name in it.
func issueFor(t *testing.T, path string, by *identity, d time.Duration, usage ...x509.ExtKeyUsage) *identity {
	t.Helper()
	dir, name := filepath.Split(path)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(d),
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: usage,
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for file, b := range map[string][]byte{name + ".pem": certPEM, name + "-key.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := &identity{key: key}
	if id.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if id.tls, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return id
}

// Only who has a certificate of the authority is served.
func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := issue(t, dir, "ca", nil)
	issue(t, dir, "server", ca)
	friend, stranger := issue(t, dir, "friend", ca), issue(t, dir, "stranger", nil)
	other := issue(t, dir, "other", nil)
	// One that calls itself the authority, and signs in its name.
	impostor := issue(t, t.TempDir(), "ca", nil)
	guests := map[string][]tls.Certificate{
		"friend": {friend.tls}, "stranger": {stranger.tls}, "nobody": nil,
		"of another authority": {issue(t, dir, "cousin", other).tls},
		"of an impostor":       {issue(t, dir, "cuckoo", impostor).tls},
		"expired":              {issueFor(t, filepath.Join(dir, "late"), ca, -time.Minute, x509.ExtKeyUsageClientAuth).tls},
		"another server":       {issueFor(t, filepath.Join(dir, "peer"), ca, time.Hour, x509.ExtKeyUsageServerAuth).tls},
	}
	l := open(t, &config.Config{Hosts: []string{"tcp://127.0.0.1:0"}, TLS: config.TLS{
		Enabled: true, Verify: true, CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server-key.pem"),
	}})[0]
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for name, who := range guests {
		// What it has is shown even if the engine says that it does not want it.
		show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if who == nil {
				return &tls.Certificate{}, nil
			}
			return &who[0], nil
		}
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, GetClientCertificate: show})
		var got []byte
		if err == nil {
			got, err = io.ReadAll(c)
			_ = c.Close()
		}
		if served := string(got) == "hello"; served != (name == "friend") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	plain, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := io.WriteString(plain, "GET /_ping HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(plain); strings.Contains(string(got), "hello") {
		t.Errorf("without TLS: got %q, %v", got, err)
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, Certificates: guests["friend"], MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // an old client
		t.Error("TLS 1.1 is spoken")
	}
}

func TestPlainTCPIsRefused(t *testing.T) {
	if _, err := listen.All(&config.Config{Hosts: []string{"tcp://127.0.0.1:0"}}); err == nil || !strings.Contains(err.Error(), "clients must be verified") {
		t.Errorf("error %v", err)
	}
}
