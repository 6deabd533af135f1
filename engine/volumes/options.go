package volumes

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/docker/go-units"
)

// needed says which options an option is of no use without.
var needed = []struct {
	option string
	needs  []string
}{
	{"device", []string{"type"}},
	{"o", []string{"device", "type"}},
	{"type", []string{"device"}},
}

// checkOptions says no to driver options that mean nothing. What only mount(2) can tell is found when it is mounted.
func checkOptions(opts map[string]string) error {
	for o := range opts {
		switch o {
		case "type", "o", "device", "size":
		default:
			return fmt.Errorf("invalid option: %q", o)
		}
	}
	if opts["type"] == "cifs" && opts["device"] != "" {
		u, err := url.Parse(opts["device"])
		if err != nil {
			return fmt.Errorf("error parsing mount device url: %w", err)
		}
		if u.Port() != "" {
			return errors.New("port not allowed in CIFS device URL, include 'port' in 'o='")
		}
	}
	if v, ok := opts["size"]; ok {
		size, err := units.RAMInBytes(v)
		if err != nil {
			return err
		}
		if size > 0 {
			return errors.New("quota size requested but no quota support")
		}
	}
	for _, n := range needed {
		if _, ok := opts[n.option]; !ok {
			continue
		}
		for _, other := range n.needs {
			if _, ok := opts[other]; !ok {
				return fmt.Errorf("missing required option: %q", other)
			}
		}
	}
	return nil
}
