package task

import (
	"log/slog"
	"time"

	"github.com/gantry-containers/gantry/shim/api/events"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	spool "github.com/gantry-containers/gantry/shim/events"
)

// The topics are containerd's (core/runtime/events.go).

func createEvent(r *task.CreateTaskRequest, pid int) spool.Event {
	return spool.Event{Topic: "/tasks/create", Type: "containerd.events.TaskCreate", Message: &events.TaskCreate{
		ContainerId: r.Id,
		Bundle:      r.Bundle,
		Rootfs:      r.Rootfs,
		Io:          &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
		Checkpoint:  r.Checkpoint,
		Pid:         uint32(pid),
	}}
}

func startEvent(p *process, pid int) spool.Event {
	if p.isInit() {
		message := &events.TaskStart{ContainerId: p.c.id, Pid: uint32(pid)}
		return spool.Event{Topic: "/tasks/start", Type: "containerd.events.TaskStart", Message: message}
	}
	message := &events.TaskExecStarted{ContainerId: p.c.id, ExecId: p.execID, Pid: uint32(pid)}
	return spool.Event{Topic: "/tasks/exec-started", Type: "containerd.events.TaskExecStarted", Message: message}
}

func execAddedEvent(p *process) spool.Event {
	message := &events.TaskExecAdded{ContainerId: p.c.id, ExecId: p.execID}
	return spool.Event{Topic: "/tasks/exec-added", Type: "containerd.events.TaskExecAdded", Message: message}
}

// ExitEvent tells of the end of a container's process; the init process has the container's id.
func ExitEvent(container, process string, pid, status int, at time.Time) spool.Event {
	return spool.Event{Topic: "/tasks/exit", Type: "containerd.events.TaskExit", Message: &events.TaskExit{
		ContainerId: container,
		Id:          process,
		Pid:         uint32(pid),
		ExitStatus:  uint32(status),
		ExitedAt:    known.At(at),
	}}
}

// DeleteEvent tells that Delete has given this answer.
func DeleteEvent(id string, answer *task.DeleteResponse) spool.Event {
	return spool.Event{Topic: "/tasks/delete", Type: "containerd.events.TaskDelete", Message: &events.TaskDelete{
		ContainerId: id,
		Pid:         answer.Pid,
		ExitStatus:  answer.ExitStatus,
		ExitedAt:    answer.ExitedAt,
	}}
}

func oomEvent(id string) spool.Event {
	return spool.Event{Topic: "/tasks/oom", Type: "containerd.events.TaskOOM", Message: &events.TaskOOM{ContainerId: id}}
}

func pausedEvent(id string) spool.Event {
	return spool.Event{Topic: "/tasks/paused", Type: "containerd.events.TaskPaused", Message: &events.TaskPaused{ContainerId: id}}
}

func resumedEvent(id string) spool.Event {
	return spool.Event{Topic: "/tasks/resumed", Type: "containerd.events.TaskResumed", Message: &events.TaskResumed{ContainerId: id}}
}

// warn tells the shim's log of what no caller can be told.
func (c *container) warn(what string, err error) {
	slog.Warn(what, "container", c.id, "error", err)
}
