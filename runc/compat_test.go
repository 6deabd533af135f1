package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gantry-containers/gantry/libcontainer"
)

// TestFrozenTexts spells out every text that clients match or people search for: whoever
// changes one has to change it here, too, and should think twice.
func TestFrozenTexts(t *testing.T) {
	cause := errors.New("why")
	for _, c := range []struct{ name, got, want string }{
		{"create", fmt.Sprint(fmt.Errorf(compatCreateFailed, cause)), "runc create failed: why"},
		{"run", fmt.Sprint(fmt.Errorf(compatRunFailed, cause)), "runc run failed: why"},
		{"exec", fmt.Sprint(fmt.Errorf(compatExecFailed, cause)), "exec failed: why"},
		{"exec without a command", compatExecArgs, "exec args cannot be empty"},
		{"spec over a file", fmt.Sprintf(compatSpecExists, "config.json"), "File config.json exists. Remove it first"},
		{"log format", fmt.Sprintf(compatLogFormat, "x"), "invalid log-format: x"},
		{"list or ps format", compatFormat, "invalid format option"},
		{"ps without PID", compatPSHeader, "couldn't find PID field in ps output"},
		{"signal", fmt.Sprintf(compatSignal, "x"), `unknown signal "x"`},
		{"arguments", fmt.Sprintf(compatArgsExact, "state", 1), `runc: "state" requires exactly 1 argument(s)`},
		{"too few arguments", fmt.Sprintf(compatArgsMin, "ps", 1), `runc: "ps" requires a minimum of 1 argument(s)`},
		{"too many arguments", fmt.Sprintf(compatArgsMax, "kill", 2), `runc: "kill" requires a maximum of 2 argument(s)`},
		{"bad id", libcontainer.ErrInvalidID.Error(), "invalid container ID format"},
		{"duplicate id", libcontainer.ErrExist.Error(), "container with given ID already exists"},
		{"unknown id", libcontainer.ErrNotExist.Error(), "container does not exist"},
		{"stopped", libcontainer.ErrNotRunning.Error(), "container not running"},
		{"not paused", libcontainer.ErrNotPaused.Error(), "container not paused"},
		{"unkillable", libcontainer.ErrStillRuns.Error(), "container init still running"},
		{"exec when paused", libcontainer.ErrPaused.Error(), "cannot exec in a paused container (use --ignore-paused to override)"},
		{"exec when stopped", libcontainer.ErrExecStopped.Error(), "cannot exec in a stopped container"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}
