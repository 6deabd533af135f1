package unpack

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestChainID(t *testing.T) {
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write := func(v any) ocispec.Descriptor {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		desc := ocispec.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b))}
		if err := content.WriteBlob(t.Context(), store, desc.Digest.String(), bytes.NewReader(b), desc); err != nil {
			t.Fatal(err)
		}
		return desc
	}
	manifest := func(layers int, ids ...digest.Digest) ocispec.Descriptor {
		t.Helper()
		config := write(map[string]any{"rootfs": ocispec.RootFS{Type: "layers", DiffIDs: ids}})
		return write(ocispec.Manifest{Config: config, Layers: make([]ocispec.Descriptor, layers)})
	}
	one, two := digest.FromString("1"), digest.FromString("2")
	for _, c := range []struct {
		manifest ocispec.Descriptor
		want     digest.Digest
	}{
		{manifest(0), ""},
		{manifest(1, one), one},
		{manifest(2, one, two), digest.FromString(one.String() + " " + two.String())},
	} {
		if got, err := ChainID(t.Context(), store, c.manifest); got != c.want || err != nil {
			t.Errorf("%s, not %s: %v", got, c.want, err)
		}
	}
	for _, bad := range []ocispec.Descriptor{manifest(1), manifest(1, one, two), write([]int{1}), {Digest: one, Size: maxConfig + 1}} {
		if _, err := ChainID(t.Context(), store, bad); !errdefs.IsInvalidArgument(err) {
			t.Error(err)
		}
	}
	if _, err := ChainID(t.Context(), store, ocispec.Descriptor{Digest: one, Size: 1}); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}
