package libcontainer

import (
	"errors"

	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// NotExecuted returns what a shell would say when the kernel refused to execute a program that
// is there, "exec PATH: errno"; "" when err is something else. It is the last thing that can
// fail: the container was complete.
func NotExecuted(err error) string {
	var failed *launch.Error
	if !errors.As(err, &failed) {
		return ""
	}
	if do, ok := failed.Op.(*plan.Execute); ok {
		return "exec " + do.Args[0] + ": " + failed.Errno.Error()
	}
	return ""
}
