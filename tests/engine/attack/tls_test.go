package attack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// authority signs certificates, and writes them into a folder.
type authority struct {
	t           *testing.T
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.certificate, a.key = a.issue(name, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue makes NAME.pem and NAME.key; the first one is signed by itself.
func (a *authority) issue(name string, c x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := &c, key
	if a.certificate != nil {
		parent, signer = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]pem.Block{a.pem(name): {Type: "CERTIFICATE", Bytes: der}, a.secret(name): {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(&block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed, key
}

func (a *authority) pem(name string) string    { return filepath.Join(a.dir, name+".pem") }
func (a *authority) secret(name string) string { return filepath.Join(a.dir, name+".key") }

func (a *authority) person(name string) {
	a.t.Helper()
	a.issue(name, x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// by asks for the containers as a person whose certificate an authority has signed, and tells what went wrong.
func (v *victim) by(server, a *authority, name string) string {
	v.t.Helper()
	cmd := v.Inside("docker", "--host", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", server.pem("ca"), "--tlscert", a.pem(name), "--tlskey", a.secret(name), "ps")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}

// TestTLS: over TCP only those come in whom the authority knows, plugins are told their names, and a reload changes who
// asks them.
func TestTLS(t *testing.T) {
	ours, others := newAuthority(t, "ca"), newAuthority(t, "ca")
	ours.issue("engine", x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	ours.person("alice")
	ours.person("mallory")
	others.person("alice")
	guard(t, func(r told) bool {
		// Who comes by the socket has no name.
		return r.User != "" && (r.User != "alice" || r.UserAuthNMethod != "TLS")
	})
	v := start(t, "--host", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", ours.pem("ca"), "--tlscert", ours.pem("engine"), "--tlskey", ours.secret("engine"))
	check := func(when string, who *authority, name, want string) {
		t.Helper()
		// A reload is not answered.
		var got string
		if !harness.Until(10*time.Second, func() bool {
			got = v.by(ours, who, name)
			return got == want || want != "" && strings.Contains(got, want)
		}) {
			t.Errorf("%s, %s: %q, want %q", when, name, got, want)
		}
	}
	check("at first", ours, "mallory", "")
	check("signed by another", others, "alice", "certificate")
	if out, err := v.Inside("docker", "--host", "tcp://127.0.0.1:2376", "ps").CombinedOutput(); err == nil || !strings.Contains(string(out), "HTTP request to an HTTPS server") {
		t.Errorf("without TLS: %v: %s", err, out)
	}
	for _, step := range []struct{ config, mallory string }{
		{`{"authorization-plugins":["guard"]}`, "authorization denied by plugin guard: forbidden here"},
		{`{}`, ""},
	} {
		if err := os.WriteFile(v.path("daemon.json"), []byte(step.config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(v.Dockerd.PID(), unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		check(step.config, ours, "mallory", step.mallory)
		check(step.config, ours, "alice", "")
	}
}
