package task

import (
	"context"
	"fmt"
	"time"
)

// The names under which the configuration may set limits. The first four are containerd's.
const (
	stateLimit      = "io.containerd.timeout.task.state"
	loadLimit       = "io.containerd.timeout.shim.load"
	cleanupLimit    = "io.containerd.timeout.shim.cleanup"
	shutdownLimit   = "io.containerd.timeout.shim.shutdown"
	controlLimit    = "io.gantry.timeout.task.control"
	startLimit      = "io.gantry.timeout.task.start"
	deleteLimit     = "io.gantry.timeout.task.delete"
	checkpointLimit = "io.gantry.timeout.task.checkpoint"
	patienceLimit   = "io.gantry.timeout.task.load"
)

// limits is how long a shim may take.
type limits struct {
	state      time.Duration // to say how a process is
	load       time.Duration // to be connected to after a restart of the manager
	cleanup    time.Duration // to remove what is left
	shutdown   time.Duration // to end
	control    time.Duration // for an operation on a process that is there: kill, pause, resize
	start      time.Duration // to create or start a process
	delete     time.Duration // to delete one: the shims of containerd wait ten seconds for a reader that has stopped
	checkpoint time.Duration // to write a checkpoint
	patience   time.Duration // for all shims together, before Load goes on without the last of them
}

func newLimits(set map[string]time.Duration) limits {
	or := func(name string, otherwise time.Duration) time.Duration {
		if d := set[name]; d > 0 {
			return d
		}
		return otherwise
	}
	return limits{
		state:      or(stateLimit, 2*time.Second),
		load:       or(loadLimit, 5*time.Second),
		cleanup:    or(cleanupLimit, 5*time.Second),
		shutdown:   or(shutdownLimit, 3*time.Second),
		control:    or(controlLimit, 10*time.Second),
		start:      or(startLimit, 2*time.Minute),
		delete:     or(deleteLimit, 15*time.Second),
		checkpoint: or(checkpointLimit, 10*time.Minute),
		patience:   or(patienceLimit, time.Second),
	}
}

// detached is a context for what has to be finished although the client has gone.
func detached(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// within says of an error that came with the end of a limit, or of the client, what it means: shims' answers to that differ.
func within(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("the shim does not answer: %w", ctx.Err())
}
