package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Every method kills the runtime when the context ends, and returns an error that says so then.

// Create makes the container; its process waits for Start.
func (r *Runtime) Create(ctx context.Context, id string, o CreateOptions) error {
	args := []string{"--bundle", o.Bundle}
	args = value(args, "--pid-file", o.PidFile)
	args = value(args, "--console-socket", o.ConsoleSocket)
	args = flag(args, "--no-pivot", o.NoPivot)
	args = flag(args, "--no-new-keyring", o.NoNewKeyring)
	return r.run(ctx, &call{verb: "create", args: args, id: id, stdio: o.stdio()})
}

// Restore makes the container from a checkpoint, running.
func (r *Runtime) Restore(ctx context.Context, id string, o RestoreOptions) error {
	args := value(nil, "--image-path", o.Images)
	args = value(args, "--work-path", o.Work)
	args = value(args, "--parent-path", o.Parent)
	args = append(args, "--detach", "--no-subreaper", "--bundle", o.Bundle)
	args = value(args, "--pid-file", o.PidFile)
	args = value(args, "--console-socket", o.ConsoleSocket)
	args = flag(args, "--no-pivot", o.NoPivot)
	return r.run(ctx, &call{verb: "restore", args: args, id: id, stdio: o.stdio()})
}

// Start lets the created process go.
func (r *Runtime) Start(ctx context.Context, id string) error {
	return r.run(ctx, &call{verb: "start", id: id})
}

// Exec starts one more process in the container.
func (r *Runtime) Exec(ctx context.Context, id string, o ExecOptions) error {
	args := []string{"--process", o.Process, "--detach"}
	args = value(args, "--pid-file", o.PidFile)
	args = value(args, "--console-socket", o.ConsoleSocket)
	return r.run(ctx, &call{verb: "exec", args: args, id: id, stdio: o.stdio()})
}

// Kill sends a signal to the container's first process, or to all.
func (r *Runtime) Kill(ctx context.Context, id string, signal int, all bool) error {
	return r.run(ctx, &call{verb: "kill", args: flag(nil, "--all", all), id: id, after: []string{strconv.Itoa(signal)}})
}

// Delete removes a stopped container; by force, any.
func (r *Runtime) Delete(ctx context.Context, id string, force bool) error {
	return r.run(ctx, &call{verb: "delete", args: flag(nil, "--force", force), id: id})
}

// Pids lists the processes in the container, by the host's numbers.
func (r *Runtime) Pids(ctx context.Context, id string) ([]int, error) {
	var pids []int
	err := r.read(ctx, &call{verb: "ps", args: []string{"--format", "json"}, id: id}, &pids)
	return pids, err
}

// Pause freezes the container.
func (r *Runtime) Pause(ctx context.Context, id string) error {
	return r.run(ctx, &call{verb: "pause", id: id})
}

// Resume thaws it.
func (r *Runtime) Resume(ctx context.Context, id string) error {
	return r.run(ctx, &call{verb: "resume", id: id})
}

// Update changes the container's limits; resources is the spec's linux.resources as JSON.
func (r *Runtime) Update(ctx context.Context, id string, resources []byte) error {
	return r.run(ctx, &call{verb: "update", args: []string{"--resources", "-"}, id: id, input: resources})
}

// Checkpoint writes the container's processes to files.
func (r *Runtime) Checkpoint(ctx context.Context, id string, o CheckpointOptions) error {
	args := value(nil, "--image-path", o.Images)
	args = value(args, "--work-path", o.Work)
	args = value(args, "--parent-path", o.Parent)
	args = flag(args, "--tcp-established", o.TCP)
	args = flag(args, "--ext-unix-sk", o.UnixSockets)
	args = flag(args, "--shell-job", o.Terminal)
	args = flag(args, "--file-locks", o.FileLocks)
	args = value(args, "--manage-cgroups-mode", o.CgroupsMode)
	for _, ns := range o.EmptyNamespaces {
		args = append(args, "--empty-ns", ns)
	}
	args = flag(args, "--leave-running", o.LeaveRunning)
	return r.run(ctx, &call{verb: "checkpoint", args: args, id: id})
}

// Features is the runtime's features document (runtime-spec, features.md), as it printed it.
func (r *Runtime) Features(ctx context.Context) ([]byte, error) {
	c := &call{verb: "features", output: true}
	if err := r.run(ctx, c); err != nil {
		return nil, err
	}
	return c.stdout, nil
}

// stdio is what the runtime must pass on to the process; with a terminal, the process gets that.
func (o *CreateOptions) stdio() *Stdio {
	if o.ConsoleSocket != "" {
		return nil
	}
	return &o.Stdio
}

func (o *ExecOptions) stdio() *Stdio {
	if o.ConsoleSocket != "" {
		return nil
	}
	return &o.Stdio
}

func (r *Runtime) read(ctx context.Context, c *call, into any) error {
	c.output = true
	if err := r.run(ctx, c); err != nil {
		return err
	}
	if err := json.Unmarshal(c.stdout, into); err != nil {
		return fmt.Errorf("the output of %s %s: %w", r.Binary, c.verb, err)
	}
	return nil
}

func value(args []string, name, v string) []string {
	if v == "" {
		return args
	}
	return append(args, name, v)
}

func flag(args []string, name string, set bool) []string {
	if !set {
		return args
	}
	return append(args, name)
}
