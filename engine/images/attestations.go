package images

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// annotationPredicate is BuildKit's mark on a layer that is an in-toto statement.
const annotationPredicate = "in-toto.io/predicate-type"

// AttestationOptions says which statements about an image a client wants.
type AttestationOptions struct {
	// Platform of the variant that they are about; nil for this machine's.
	Platform *ocispec.Platform
	// Types of predicates; all when empty.
	Types []string
	// Statement says that the statements themselves are told.
	Statement bool
}

// Attestations is the statements about how an image was made that came with it; nil when there are none.
func (s *Store) Attestations(ctx context.Context, name string, o AttestationOptions) ([]api.AttestationStatement, error) {
	record, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if record.Target.MediaType != ocispec.MediaTypeImageIndex {
		return nil, nil
	}
	f, err := s.factsOf(ctx, record.Target)
	if err != nil {
		return nil, err
	}
	about := f.best(s.only(o.Platform), false)
	if about == nil {
		return nil, noPlatform(familiar(record), o.Platform)
	}
	for _, v := range f.variants {
		if v.kind == attestation && v.subject == about.desc.Digest {
			return s.statements(ctx, v.desc, o)
		}
	}
	return nil, nil
}

func (s *Store) statements(ctx context.Context, desc ocispec.Descriptor, o AttestationOptions) ([]api.AttestationStatement, error) {
	var m ocispec.Manifest
	if err := readJSON(ctx, s.client.ContentStore(), desc, &m); err != nil {
		return nil, err
	}
	var list []api.AttestationStatement
	for _, l := range m.Layers {
		predicate := l.Annotations[annotationPredicate]
		if predicate == "" || len(o.Types) > 0 && !slices.Contains(o.Types, predicate) {
			continue
		}
		st := api.AttestationStatement{Descriptor: l, PredicateType: predicate}
		if o.Statement {
			raw, err := s.statement(ctx, l)
			if err != nil {
				return nil, err
			}
			st.Statement = &raw
		}
		list = append(list, st)
	}
	return list, nil
}

func (s *Store) statement(ctx context.Context, l ocispec.Descriptor) (json.RawMessage, error) {
	if l.Size > maxJSON {
		return nil, fault.Errorf(errdefs.ErrFailedPrecondition, "attestation statement %s is too large: %d bytes", l.Digest, l.Size)
	}
	b, err := content.ReadBlob(ctx, s.client.ContentStore(), l)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("attestation statement %s is not available locally: %w", l.Digest, err)
	}
	return b, err
}
