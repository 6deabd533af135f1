package names_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/service/names"
)

func TestCheck(t *testing.T) {
	for name, ok := range map[string]bool{
		"":                               false,
		"a":                              true,
		"../ \x00 anything":              true,
		strings.Repeat("x", names.Max):   true,
		strings.Repeat("x", names.Max+1): false,
	} {
		short := name[:min(len(name), 20)]
		err := names.Check("thing", name)
		if (err == nil) != ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%q, %d bytes: %v, want taken: %v", short, len(name), err, ok)
		}
		err = names.Keys("label", map[string]string{"a": "", name: ""})
		if (err == nil) != ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("as a key, %q, %d bytes: %v, want taken: %v", short, len(name), err, ok)
		}
	}
	if err := names.Keys[string]("label", nil); err != nil {
		t.Error(err)
	}
}
