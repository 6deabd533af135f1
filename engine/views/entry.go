package views

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	api "github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
)

// entry is the list entry of one record. Records never change, so it is made once: what depends on the time or on other
// things (image name, sizes, status) is put between its pieces when a list is written.
type entry struct {
	record  *container.Container
	aliases []string
	health  *api.Health
	summary *api.Summary
	// pieces are the encoded form, by what a version shows.
	pieces [shapes]*pieces
}

// shape is what the entries of an API version have.
type shape int

const (
	oldest          shape = iota // before 1.46
	withAnnotations              // 1.46
	withManifest                 // 1.48
	withHealth                   // 1.52
	shapes
)

// pieces are the text between the values that are filled in.
type pieces struct {
	names, ids, labels, rest []byte
}

// The parts of api.Summary, in its order. What is missing here is filled in: Image, SizeRw, SizeRootFs, Status.
type (
	namesPart struct {
		ID    string `json:"Id"`
		Names []string
	}
	idsPart struct {
		ImageID                 string
		ImageManifestDescriptor *ocispec.Descriptor `json:"ImageManifestDescriptor,omitempty"`
		Command                 string
		Created                 int64
		Ports                   []api.PortSummary
	}
	labelsPart struct {
		Labels map[string]string
		State  api.ContainerState
	}
	restPart struct {
		HostConfig struct {
			NetworkMode string            `json:",omitempty"`
			Annotations map[string]string `json:",omitempty"`
		}
		Health          *api.HealthSummary `json:",omitempty"`
		NetworkSettings *api.NetworkSettingsSummary
		Mounts          []api.MountPoint
	}
)

// trim is a summary as an API version shows it.
func trim(sum api.Summary, sh shape) api.Summary {
	if sh < withAnnotations {
		sum.HostConfig.Annotations = nil
	}
	if sh < withManifest {
		sum.ImageManifestDescriptor = nil
	}
	if sh < withHealth {
		sum.Health = nil
	}
	return sum
}

func encode(full *api.Summary, sh shape) (*pieces, error) {
	sum := trim(*full, sh)
	var p pieces
	for _, part := range []struct {
		into  *[]byte
		value any
	}{
		{&p.names, namesPart{sum.ID, sum.Names}},
		{&p.ids, idsPart{sum.ImageID, sum.ImageManifestDescriptor, sum.Command, sum.Created, sum.Ports}},
		{&p.labels, labelsPart{sum.Labels, sum.State}},
		{&p.rest, restPart{sum.HostConfig, sum.Health, sum.NetworkSettings, sum.Mounts}},
	} {
		b, err := plain(part.value)
		if err != nil {
			return nil, err
		}
		*part.into = b[1 : len(b)-1] // the members, without the braces
	}
	return &p, nil
}

// plain encodes as answers are encoded: <, > and & stay as they are.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// appendTo writes the entry: its pieces and what is of now.
func (p *pieces) appendTo(out []byte, image string, sizes *sizes, status string) []byte {
	out = append(out, '{')
	out = append(out, p.names...)
	out = append(out, `,"Image":`...)
	out = appendString(out, image)
	out = append(out, ',')
	out = append(out, p.ids...)
	if sizes != nil && sizes.rw != 0 {
		out = strconv.AppendInt(append(out, `,"SizeRw":`...), sizes.rw, 10)
	}
	if sizes != nil && sizes.root != 0 {
		out = strconv.AppendInt(append(out, `,"SizeRootFs":`...), sizes.root, 10)
	}
	out = append(out, ',')
	out = append(out, p.labels...)
	out = append(out, `,"Status":`...)
	out = appendString(out, status)
	out = append(out, ',')
	out = append(out, p.rest...)
	return append(out, '}')
}

// appendString encodes text. Names and status texts are plain as a rule.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			b, _ := plain(s)
			return append(out, b...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

// entry is that of a record, made when it is not there yet.
func (s *Service) entry(c *container.Container, st container.State, aliases []string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[c.ID]
	if e == nil || e.record != c || e.health != st.Health || !slices.Equal(e.aliases, aliases) {
		e = &entry{record: c, aliases: aliases, health: st.Health, summary: s.summary(c, st)}
		e.summary.Names = append(e.summary.Names, aliases...)
		s.entries[c.ID] = e
	}
	return e
}

// encoded is the entry's text for an API version.
func (s *Service) encoded(e *entry, sh shape) (*pieces, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.pieces[sh] == nil {
		p, err := encode(e.summary, sh)
		if err != nil {
			return nil, err
		}
		e.pieces[sh] = p
	}
	return e.pieces[sh], nil
}

// sweep forgets the entries of containers that are gone.
func (s *Service) sweep(records []*container.Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) <= len(records) {
		return
	}
	kept := make(map[string]*entry, len(records))
	for _, c := range records {
		if e := s.entries[c.ID]; e != nil {
			kept[c.ID] = e
		}
	}
	s.entries = kept
}
