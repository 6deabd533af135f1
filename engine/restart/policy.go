package restart

import (
	"time"

	api "github.com/moby/moby/api/types/container"
)

// The pause before a restart starts with First, doubles each time up to Longest, and starts anew when the container
// ran for Settled.
const (
	First   = 100 * time.Millisecond
	Longest = time.Minute
	Settled = 10 * time.Second
)

// Past is what is known about a container that has just exited.
type Past struct {
	ExitCode int
	// Count is how often its policy started it since a client did.
	Count int
	// Pause is the last one; 0 when there was none.
	Pause time.Duration
	// Ran is how long it ran.
	Ran time.Duration
	// Stopped says that a client ended it: no policy starts it again.
	Stopped bool
	// Signaled says that a client sent it a signal, maybe not to end it: unless-stopped takes it for a stop.
	Signaled bool
}

// Next says whether a container starts again, and after which pause.
func Next(policy api.RestartPolicy, past Past) (pause time.Duration, again bool) {
	if past.Stopped || !wants(policy, past) {
		return 0, false
	}
	if past.Ran >= Settled || past.Pause <= 0 {
		return First, true
	}
	return min(2*past.Pause, Longest), true
}

func wants(policy api.RestartPolicy, past Past) bool {
	switch {
	case policy.IsAlways():
		return true
	case policy.IsUnlessStopped():
		return !past.Signaled
	case policy.IsOnFailure():
		return past.ExitCode != 0 && (policy.MaximumRetryCount == 0 || past.Count < policy.MaximumRetryCount)
	}
	return false
}

// AtLoad says whether a container that is not running starts when the engine does, as dockerd's do: always, those that
// a client stopped, too; unless-stopped only those that none did.
func AtLoad(policy api.RestartPolicy, past Past) bool {
	if policy.IsOnFailure() && past.Stopped {
		return false
	}
	past.Signaled = past.Signaled || past.Stopped
	return wants(policy, past)
}
