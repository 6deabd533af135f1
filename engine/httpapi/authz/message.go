package authz

import (
	"encoding/pem"
	"net/http"
	"strings"
)

// message is what plugins are told, first of the request, then of the answer as well.
type message struct {
	User            string            `json:",omitempty"`
	UserAuthNMethod string            `json:",omitempty"`
	RequestMethod   string            `json:",omitempty"`
	RequestURI      string            `json:"RequestUri,omitempty"`
	RequestBody     []byte            `json:",omitempty"`
	RequestHeaders  map[string]string `json:",omitempty"`
	// RequestPeerCertificates are PEM.
	RequestPeerCertificates [][]byte          `json:",omitempty"`
	ResponseStatusCode      int               `json:",omitempty"`
	ResponseBody            []byte            `json:",omitempty"`
	ResponseHeaders         map[string]string `json:",omitempty"`
}

// verdict is what a plugin says.
type verdict struct {
	Allow    bool
	Msg, Err string
}

// describe tells of a request all but its body. Who asks is known by the certificate of a TLS connection only.
func describe(r *http.Request) *message {
	m := &message{RequestMethod: r.Method, RequestURI: r.RequestURI, RequestHeaders: flat(r.Header)}
	if r.TLS == nil {
		return m
	}
	for i, c := range r.TLS.PeerCertificates {
		if i == 0 {
			m.User, m.UserAuthNMethod = c.Subject.CommonName, "TLS"
		}
		m.RequestPeerCertificates = append(m.RequestPeerCertificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return m
}

// secret are headers that no plugin gets.
var secret = []string{"Authorization", "X-Registry-Config", "X-Registry-Auth"}

// flat has one value of each header: the last.
func flat(h http.Header) map[string]string {
	all := map[string]string{}
	for key, values := range h {
		if len(values) > 0 && !isSecret(key) {
			all[key] = values[len(values)-1]
		}
	}
	return all
}

func isSecret(key string) bool {
	for _, s := range secret {
		if strings.EqualFold(key, s) {
			return true
		}
	}
	return false
}
