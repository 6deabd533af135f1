package state

import "fmt"

// maxID is NAME_MAX: an id is the name of a directory.
const maxID = 255

// CheckID refuses what can't name a container, wrapping ErrInvalidID: an id is 1 to 255
// of the characters [0-9A-Za-z_+-.], and neither "." nor "..".
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidID)
	case len(id) > maxID:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrInvalidID, maxID)
	case id == "." || id == "..":
		return fmt.Errorf("%w: %q is a path", ErrInvalidID, id)
	}
	for i := range len(id) {
		if !idByte(id[i]) {
			return fmt.Errorf("%w: %q in %q", ErrInvalidID, id[i:i+1], id)
		}
	}
	return nil
}

func idByte(c byte) bool {
	switch {
	case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return true
	}
	return c == '_' || c == '+' || c == '-' || c == '.'
}
