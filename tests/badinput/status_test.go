package badinput_test

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// verbs are the commands that a container of each status is tried with; ID stands for it.
var verbs = []string{
	"state ID", "start ID", "kill ID TERM", "kill --all ID 9", "kill ID KILL", "kill ID 0", "delete ID", "delete --force ID", "exec ID true", "pause ID", "resume ID", "ps ID",
}

// answers are the errors by status, in the order of verbs; "" is success.
var answers = map[string][]string{
	"created": {
		"", "", "", "", "", "", "", "", "", "", "container not paused", "",
	},
	"running": {
		"", "cannot start an already running container", "", "", "", "", "cannot delete container ID that is not stopped: running",
		"", "", "", "container not paused", "",
	},
	"paused": {
		"", "cannot start a container in the paused state", "", "", "", "", "cannot delete container ID that is not stopped: paused",
		"", "cannot exec in a paused container", "container not running", "", "",
	},
	"stopped": {
		"", "cannot start a container that has stopped", "container not running", "", "container not running", "container not running", "",
		"", "cannot exec in a stopped container", "container not running", "container not paused", "",
	},
	"unknown": {
		"container does not exist", "container does not exist", "container does not exist", "container does not exist", "container does not exist", "container does not exist", "container does not exist",
		"", "container does not exist", "container does not exist", "container does not exist", "container does not exist",
	},
}

func TestEveryCommandInEveryStatus(t *testing.T) {
	for status, list := range answers {
		t.Run(status, func(t *testing.T) {
			e := harness.New(t)
			id := e.ID("a")
			bundle := e.Bundle("trap 'exit 0' TERM; sleep 100 & wait", nil)
			for i, verb := range verbs {
				bring(e, status, bundle, id)
				args := strings.Fields(strings.ReplaceAll(verb, "ID", id))
				if list[i] == "" {
					if r := e.Run(args...); r.Code != 0 || r.Stderr != "" {
						t.Errorf("%s, %s: exit %d: %s", status, verb, r.Code, r.Stderr)
					}
				} else {
					want := strings.ReplaceAll(list[i], "ID", id)
					(&attempt{env: e, args: args, leaves: true}).refused(want)
					if is := statusOf(e, id); is != status {
						t.Errorf("%s changed the status from %s to %s", verb, status, is)
					}
				}
				e.MustRun("delete", "--force", id)
				nothingLeft(e)
			}
		})
	}
}

// bring makes a container of the status.
func bring(e *harness.Env, status, bundle, id string) {
	e.T.Helper()
	if status == "unknown" {
		return
	}
	e.MustRun("create", "-b", bundle, id)
	switch status {
	case "running", "paused":
		e.MustRun("start", id)
	case "stopped":
		e.MustRun("kill", id, "KILL")
		e.WaitStatus(id, specs.StateStopped)
	}
	if status == "paused" {
		e.MustRun("pause", id)
	}
	if is := statusOf(e, id); is != status {
		e.T.Fatalf("the status is %s, want %s", is, status)
	}
}

func statusOf(e *harness.Env, id string) string {
	e.T.Helper()
	if r := e.Run("state", id); r.Code != 0 {
		return "unknown"
	}
	return string(e.State(id).Status)
}

func TestASignalThatIsNone(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle("sleep 100", nil), e.ID("a")
	e.MustRun("create", "-b", bundle, id)
	for _, signal := range []string{"SIGNOTHING", "-1", "65", "1e1", "TERM ", "9999999999999999999", "SIG"} {
		a := &attempt{env: e, args: []string{"kill", id, signal}, leaves: true}
		if signal == "-1" {
			a.args = []string{"kill", "--", id, signal}
		}
		a.refused("unknown signal ")
	}
}
