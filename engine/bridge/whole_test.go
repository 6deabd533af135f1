package bridge

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		errs  []error
		asked int
	}{
		"at once":               {[]error{nil}, 1},
		"changed meanwhile":     {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, 3},
		"fails":                 {[]error{broken}, 1},
		"changed, and it fails": {[]error{netlink.ErrDumpInterrupted, broken}, 2},
	} {
		asked := 0
		all, err := whole(func() ([]int, error) { asked++; return []int{asked}, test.errs[asked-1] })
		want := test.errs[len(test.errs)-1]
		if asked != test.asked || !errors.Is(err, want) || err == nil && all[0] != asked {
			t.Errorf("%s: asked %d times, %v, %v", name, asked, all, err)
		}
	}
}
