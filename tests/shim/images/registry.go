package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// blob is a piece of content and its media type.
type blob struct {
	mediaType string
	content   []byte
}

// registry serves pulls as the OCI distribution specification has them ("Pull", end-1 to end-3). It is read-only.
type registry struct {
	blobs map[string]blob              // by digest
	tags  map[string]map[string]string // repository, tag: digest
}

// descriptor is the OCI image specification's, descriptor.md.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int       `json:"size"`
	Platform  *platform `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// add keeps content and describes it.
func (r *registry) add(mediaType string, content []byte) descriptor {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	r.blobs[digest] = blob{mediaType, content}
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(content)}
}

// addJSON keeps a value as JSON and describes it.
func (r *registry) addJSON(mediaType string, value any) (descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return r.add(mediaType, content), nil
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	if path == "" {
		return
	}
	repo, reference, found := strings.Cut(path, "/manifests/")
	if !found {
		repo, reference, found = strings.Cut(path, "/blobs/")
	}
	tags, known := r.tags[repo]
	if !found || !known {
		http.NotFound(w, req)
		return
	}
	if digest, ok := tags[reference]; ok {
		reference = digest
	}
	b, ok := r.blobs[reference]
	if !ok {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", b.mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b.content)))
	w.Header().Set("Docker-Content-Digest", reference)
	if req.Method != http.MethodHead {
		_, _ = w.Write(b.content) // a client that has gone needs no answer
	}
}
