package registry

import (
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What says how an image was built comes with it, for the platform that is pulled alone, and is shown as no layer of it.
func TestPullAttestation(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	srv.image(t, "own", "own")
	d := srv.manifests["own"]
	own := ocispec.Descriptor{MediaType: d.mediaType, Digest: digestOf(d.content), Size: int64(len(d.content)), Platform: &ocispec.Platform{OS: "linux", Architecture: goarch}}
	about := func(of ocispec.Descriptor, statement string) (manifest, layer ocispec.Descriptor) {
		layer = srv.blob("application/vnd.in-toto+json", []byte(statement))
		manifest = srv.manifest(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: srv.blob(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"unknown","os":"unknown"}`)), Layers: []ocispec.Descriptor{layer},
		})
		manifest.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
		manifest.Annotations = map[string]string{attestation: attestationOfBuild, attestationOf: of.Digest.String()}
		return manifest, layer
	}
	ours, statement := about(own, `{"about":"own"}`)
	theirs, other := about(ocispec.Descriptor{Digest: digestOf(nil)}, `{"about":"other"}`)
	srv.manifest(t, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{own, ours, theirs},
	}, "v1")
	got, err := pullFrom(t, s, srv.host()+"/a/image:v1", Request{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(got, ""), shortID(statement.Digest)+" "+stepPulling) {
		t.Error(got)
	}
	left := m.left(t)
	for _, want := range []ocispec.Descriptor{ours, statement} {
		if !contains(left, "content "+want.Digest.String()) {
			t.Errorf("%s was not brought", want.Digest)
		}
	}
	for _, not := range []ocispec.Descriptor{theirs, other} {
		if contains(left, "content "+not.Digest.String()) {
			t.Errorf("%s was brought", not.Digest)
		}
	}
}
