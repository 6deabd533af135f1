package images

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/filters"
)

// several is an index: an image for this machine, one for another, one for a third that is not in the archive, and a
// statement about the first.
type several struct {
	here, other, absent made
	statement           []byte
	index, archive      []byte
}

func makeSeveral(name string) several {
	s := several{
		here: makeImage("here", here, map[string]string{"where": "here"}), other: makeImage("other", linux("s390x"), nil),
		absent: makeImage("absent", linux("riscv64"), nil), statement: []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`),
	}
	said := describe("application/vnd.in-toto+json", s.statement)
	said.Annotations = map[string]string{annotationPredicate: "https://slsa.dev/provenance/v0.2"}
	nowhere := ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	config := marshal(ocispec.Image{Platform: nowhere, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{said.Digest}}})
	attested := marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{said},
	})
	about := describe(ocispec.MediaTypeImageManifest, attested)
	about.Platform = &nowhere
	about.Annotations = map[string]string{
		annotationReferenceType: "attestation-manifest", annotationReferenceDigest: digest.FromBytes(s.here.manifest).String(),
	}
	list := []ocispec.Descriptor{on(s.other, linux("s390x")), on(s.here, here), on(s.absent, linux("riscv64")), about}
	s.index = marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list})
	s.archive = layout([]ocispec.Descriptor{named(describe(ocispec.MediaTypeImageIndex, s.index), name)},
		s.here.layer, s.here.config, s.here.manifest, s.other.layer, s.other.config, s.other.manifest, config, attested, s.statement, s.index)
	return s
}

func on(m made, p ocispec.Platform) ocispec.Descriptor {
	d := describe(ocispec.MediaTypeImageManifest, m.manifest)
	d.Platform = &p
	return d
}

func TestPlatforms(t *testing.T) {
	f := newFixture(t)
	s := makeSeveral("docker.io/library/several:1")
	f.load(s.archive)
	for _, c := range []struct {
		platform *ocispec.Platform
		want     []byte
	}{{nil, s.here.manifest}, {&here, s.here.manifest}, {&ocispec.Platform{OS: "linux", Architecture: "s390x"}, s.other.manifest}} {
		img, err := f.Resolve(f.ctx, "several:1", c.platform)
		if err != nil {
			t.Fatal(err)
		}
		if img.Manifest.Digest != digest.FromBytes(c.want) || img.Target.Digest != digest.FromBytes(s.index) {
			t.Errorf("%v: %+v", c.platform, img)
		}
	}
	if _, err := f.Resolve(f.ctx, "several:1", &ocispec.Platform{OS: "linux", Architecture: "riscv64"}); !errdefs.IsNotFound(err) {
		t.Errorf("a variant that is not here: %v", err)
	}
	in, err := f.Inspect(f.ctx, "several:1", InspectOptions{Manifests: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range in.Manifests {
		line := string(m.Kind)
		if m.Available {
			line += " available"
		}
		if m.ImageData != nil {
			line += " " + m.ImageData.Platform.Architecture
			if m.ImageData.Size.Unpacked > 0 {
				line += " unpacked"
			}
		}
		got = append(got, line)
	}
	want := []string{"image available s390x", "image available " + here.Architecture + " unpacked", "image riscv64", "attestation available"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	statements, err := f.Attestations(f.ctx, "several:1", AttestationOptions{Statement: true})
	if err != nil || len(statements) != 1 || string(*statements[0].Statement) != string(s.statement) {
		t.Errorf("attestations: %+v, %v", statements, err)
	}
}

func TestLoadPlatform(t *testing.T) {
	f := newFixture(t)
	s := makeSeveral("docker.io/library/several:1")
	f.load(s.archive, linux("s390x"))
	// What else the archive had stays until the collector comes; the index keeps what was asked for.
	if _, err := f.Resolve(f.ctx, "several:1", &ocispec.Platform{OS: "linux", Architecture: "s390x"}); err != nil {
		t.Error(err)
	}
	for want, p := range map[string]ocispec.Platform{"not found": linux("riscv64"), "requested platform(s)": linux("mips64le")} {
		err := f.Load(f.ctx, bytes.NewReader(makeSeveral("docker.io/library/more:1").archive), []ocispec.Platform{p}, func(string) {})
		if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

func TestDeletePlatform(t *testing.T) {
	f := newFixture(t)
	s := makeSeveral("docker.io/library/several:1")
	f.load(s.archive)
	o := DeleteOptions{Platforms: []ocispec.Platform{linux("s390x")}}
	if _, err := gone(f, "several:1", o); !errdefs.IsInvalidArgument(err) {
		t.Errorf("without force: %v", err)
	}
	o.Force = true
	got, err := gone(f, "several:1", o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"deleted " + digest.FromBytes(s.other.manifest).String()}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := f.Resolve(f.ctx, "several:1", &ocispec.Platform{OS: "linux", Architecture: "s390x"}); !errdefs.IsNotFound(err) {
		t.Errorf("the variant that was removed: %v", err)
	}
	if _, err := f.Resolve(f.ctx, "several:1", nil); err != nil {
		t.Error(err)
	}
}

func TestFilters(t *testing.T) {
	f := newFixture(t)
	f.load(single(makeImage("red", here, map[string]string{"color": "red"}), "docker.io/library/red:1"))
	f.load(single(makeImage("blue", here, map[string]string{"color": "blue"}), "registry.test/team/blue:2"))
	f.load(single(makeImage("plain", here, nil), ""))
	for _, c := range []struct {
		filter string
		want   []string
	}{
		{`{}`, []string{"", "red:1", "registry.test/team/blue:2"}},
		{`{"dangling":["true"]}`, []string{""}},
		{`{"dangling":["false"]}`, []string{"red:1", "registry.test/team/blue:2"}},
		{`{"label":["color"]}`, []string{"red:1", "registry.test/team/blue:2"}},
		{`{"label":["color=red"]}`, []string{"red:1"}},
		{`{"label":["color!=red"]}`, []string{"", "registry.test/team/blue:2"}},
		{`{"label!":["color"]}`, []string{""}},
		{`{"reference":["red"]}`, []string{"red:1"}},
		{`{"reference":["registry.test/*/*"]}`, []string{"registry.test/team/blue:2"}},
		{`{"reference":["docker.io/library/r*:1"]}`, []string{"red:1"}},
		{`{"until":["24h"]}`, nil},
		{`{"before":["red:1"]}`, nil},
	} {
		args, err := filters.Parse(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.List(f.ctx, ListOptions{Filters: args, SharedSize: true})
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
		}
		if diff := cmp.Diff(c.want, tagsIn(list)); diff != "" {
			t.Errorf("%s: %s", c.filter, diff)
		}
	}
	for filter, class := range map[string]func(error) bool{
		`{"x":["1"]}`: errdefs.IsInvalidArgument, `{"dangling":["x"]}`: errdefs.IsInvalidArgument,
		`{"until":["x"]}`: errdefs.IsInvalidArgument, `{"since":["nope"]}`: errdefs.IsNotFound,
	} {
		args, err := filters.Parse(filter)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.List(f.ctx, ListOptions{Filters: args}); !class(err) {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

// tagsIn is the first names of images, sorted.
func tagsIn(list []api.Summary) []string {
	var tags []string
	for _, s := range list {
		tags = append(tags, strings.Join(s.RepoTags, ","))
	}
	slices.Sort(tags)
	return tags
}

func TestDiskUsage(t *testing.T) {
	f := newFixture(t)
	s := makeSeveral("docker.io/library/several:1")
	f.load(s.archive)
	if err := f.TagByName(f.ctx, "several:1", "again"); err != nil {
		t.Fatal(err)
	}
	u, err := f.DiskUsage(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if u.TotalCount != 1 || len(u.Items) != 1 || u.TotalSize != u.Items[0].Size+int64(len(s.index)) || u.Reclaimable != u.Items[0].Size || f.Count(f.ctx) != 1 {
		t.Errorf("%+v", u)
	}
}
