package exec

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/engine/fault"
)

func TestKeys(t *testing.T) {
	for text, want := range map[string][]byte{
		"": {}, "ctrl-p,ctrl-q": {16, 17}, "a,ctrl-@,Z": {'a', 0, 'Z'}, "ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_": {27, 28, 29, 30, 31}, "DEL": {127},
		"ctrl-A": nil, "ctrl-": nil, "ab": nil, "a,": nil, "ctrl-ab": nil,
	} {
		got, err := Keys(text)
		if d := cmp.Diff(want, got); d != "" || (err != nil) != (want == nil) {
			t.Errorf("%q: %v %s", text, err, d)
		}
	}
}

func TestFailure(t *testing.T) {
	for _, tc := range []struct {
		err   error
		code  int
		text  string
		class error
	}{
		{errors.New("exec: x: executable file not found in $PATH"), 127, "exec: x: executable file not found in $PATH", errdefs.ErrInvalidArgument},
		{errors.New("chdir: no such file or directory"), 127, "chdir: no such file or directory", errdefs.ErrInvalidArgument},
		{errors.New("exec: Permission denied"), 126, "exec: Permission denied", errdefs.ErrInvalidArgument},
		{errors.New("exec: is a directory"), 126, "exec: is a directory: permission denied", errdefs.ErrInvalidArgument},
		{errors.New("other"), 128, "other", errdefs.ErrUnknown},
		{fault.Errorf(errdefs.ErrConflict, "said no before"), 126, "said no before", errdefs.ErrConflict},
	} {
		code, err := Failure(tc.err)
		if code != tc.code || err.Error() != tc.text || !errors.Is(err, tc.class) {
			t.Errorf("%v: %d, %v", tc.err, code, err)
		}
	}
}
