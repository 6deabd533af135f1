package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/registry"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// A registry that is not on the loopback needs a certificate of an authority that the engine knows, and nothing else will
// do but a word in the configuration.
func TestCertificates(t *testing.T) {
	harness.NeedRoot(t)
	address := outside(t)
	dir := t.TempDir()
	certificate := selfSigned(t, dir, address)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	host := serve(t, address, "http: {addr: 'ADDRESS', tls: {certificate: "+filepath.Join(dir, "cert.pem")+", key: "+filepath.Join(dir, "key.pem")+"}}\n",
		&http.Client{Transport: transport})
	certs := t.TempDir()
	e := start(t, compat.Gantry, registry.Config{CertsDir: certs})
	name := host + "/a/busybox:v1"
	e.tag(name)
	unknown := "certificate signed by unknown authority"
	auth := registry.Request{Auth: &api.AuthConfig{ServerAddress: host}}
	if _, err := e.do(e.Push, name); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Error(err)
	}
	if _, err := e.Login(t.Context(), auth); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(certs, host), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certs, host, "ca.crt"), certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	e.must(e.Push, name, `"status":"Pushed"`)
	if _, err := e.Login(t.Context(), auth); err != nil {
		t.Error(err)
	}
	e.forget()
	e.must(e.Pull, name, "Status: Downloaded newer image for "+name)
	careless, err := registry.New(registry.Options{Client: e.client, Snapshotter: snapshotter, Config: registry.Config{
		CertsDir: t.TempDir(), Insecure: []string{host},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.must(careless.Pull, name, "Status: Image is up to date for "+name)
}

// outside is an address of this machine that is not the loopback's.
func outside(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but the loopback's, where certificates are not checked")
	return ""
}

// selfSigned makes a certificate for an address, and returns it.
func selfSigned(t *testing.T, dir, address string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{"cert.pem": certificate, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate
}
