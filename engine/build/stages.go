package build

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/engine/images"
)

// stages are those that were built, by number and by name. The image is nil for one that made nothing from nothing.
type stages struct {
	list   []*images.Image
	byName map[string]*images.Image
}

// free says no to a name that is taken.
func (s *stages) free(name string) error {
	if _, taken := s.named(name); taken && name != "" {
		return fmt.Errorf("%s stage name already used", name)
	}
	return nil
}

func (s *stages) named(name string) (*images.Image, bool) {
	img, ok := s.byName[strings.ToLower(name)]
	return img, ok
}

func (s *stages) add(name string, img *images.Image) {
	if name != "" {
		if s.byName == nil {
			s.byName = map[string]*images.Image{}
		}
		s.byName[strings.ToLower(name)] = img
	}
	s.list = append(s.list, img)
}

// get finds a stage by name or number; it says no when it is the name of something else.
func (s *stages) get(name string) (*images.Image, bool, error) {
	if img, ok := s.named(name); ok {
		return img, true, nil
	}
	i, err := strconv.Atoi(name)
	switch {
	case err != nil:
		return nil, false, nil //nolint:nilerr // It is the name of an image.
	case i == len(s.list):
		return nil, false, errors.New("refers to current build stage")
	case i < 0 || i > len(s.list):
		return nil, false, errors.New("index out of bounds")
	}
	return s.list[i], true, nil
}
