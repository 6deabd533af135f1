package images

import (
	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
)

// spelling is how clients write a record's name. It is kept, as parsing a name takes longer than all else that a list does with it.
type spelling struct {
	// reference is empty for a name that is none.
	reference string
	// repository is the reference without tag and digest; empty for a name that lacks what clients may leave out, as the domain.
	repository string
}

func spell(name string) spelling {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return spelling{}
	}
	s := spelling{reference: reference.FamiliarString(ref)}
	if ref.String() == name {
		s.repository = reference.FamiliarName(ref)
	}
	return s
}

// spelling is that of a record's name.
func (x *index) spelling(img images.Image) spelling {
	x.mu.RLock()
	s, ok := x.spellings[img.Name]
	x.mu.RUnlock()
	if !ok { // It went meanwhile.
		return spell(img.Name)
	}
	return s
}
