package views

import (
	"fmt"
	"time"

	"github.com/docker/go-units"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
)

// active is what Docker calls running: with processes, or between two of its restarts.
func active(s container.State) bool { return s.Running() || s.Status == container.Restarting }

// stateOf is Docker's word for a state. Removal shows only when nothing runs any more.
func stateOf(s container.State) api.ContainerState {
	if s.RemovalInProgress && !active(s) {
		return api.StateRemoving
	}
	if s.Status == "" {
		return api.StateCreated
	}
	return api.ContainerState(s.Status)
}

// statusOf is the sentence that docker ps prints.
func statusOf(s container.State, now time.Time) string {
	switch stateOf(s) {
	case api.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	case api.StatePaused:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + " (Paused)"
	case api.StateRunning:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + healthWord(s.Health)
	case api.StateRemoving:
		return "Removal In Progress"
	case api.StateDead:
		return "Dead"
	case api.StateCreated:
		return "Created"
	case api.StateExited:
	}
	if s.FinishedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
}

func healthWord(h *api.Health) string {
	switch {
	case h == nil:
		return ""
	case h.Status == api.Starting:
		return " (health: starting)"
	}
	return " (" + string(healthOf(h).Status) + ")"
}

// healthOf tells a check that never began as unhealthy, as Docker does, and a missing one as none.
func healthOf(h *api.Health) api.HealthSummary {
	switch {
	case h == nil:
		return api.HealthSummary{Status: api.NoHealthcheck}
	case h.Status == "":
		return api.HealthSummary{Status: api.Unhealthy, FailingStreak: h.FailingStreak}
	}
	return api.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
}

// inspectState is the State of inspect.
func inspectState(s container.State) *api.State {
	state := stateOf(s)
	out := &api.State{
		Status: state, Running: active(s), Paused: s.Status == container.Paused, Restarting: s.Status == container.Restarting,
		OOMKilled: s.OOMKilled, Dead: s.Status == container.Dead, Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: s.StartedAt.UTC().Format(time.RFC3339Nano), FinishedAt: s.FinishedAt.UTC().Format(time.RFC3339Nano),
	}
	if s.Health != nil {
		out.Health = &api.Health{
			Status: healthOf(s.Health).Status, FailingStreak: s.Health.FailingStreak,
			Log: append([]*api.HealthcheckResult{}, s.Health.Log...),
		}
	}
	return out
}
