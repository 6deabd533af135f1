package views

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// renamedPID finds columns of ps that call themselves PID and are none.
var renamedPID = regexp.MustCompile(`\s+(\S*)=\s*(PID\S*)`)

// Top is the processes of a container, as the host's ps shows them.
func (s *Service) Top(ctx context.Context, ref, psArgs string) (*api.TopResponse, error) {
	if psArgs == "" {
		psArgs = "-ef"
	}
	for _, m := range renamedPID.FindAllStringSubmatch(psArgs, -1) {
		if m[1] != "pid" {
			return nil, fmt.Errorf(`specifying "%s=%s" is not allowed`, m[1], m[2])
		}
	}
	c, err := s.Records.Get(ref)
	if err != nil {
		return nil, err
	}
	if c.State.Status == container.Restarting {
		return nil, fault.Errorf(errdefs.ErrConflict, "Container %s is restarting, wait until the container is running", c.ID)
	}
	if !c.State.Running() {
		return nil, fault.Errorf(errdefs.ErrConflict, "container %s is not running", c.ID)
	}
	pids, err := s.Pids.Pids(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	out, err := ps(ctx, strings.Split(psArgs, " "), pids)
	if err != nil {
		return nil, err
	}
	top, err := parsePS(string(out), pids)
	if err != nil {
		return nil, err
	}
	s.Events.Publish(apievents.ContainerEventType, apievents.ActionTop, c.ID, c.EventAttributes())
	return top, nil
}

// ps asks for the processes alone first; some options do not go with -q, so then for all.
func ps(ctx context.Context, args []string, pids []int) ([]byte, error) {
	list := make([]string, len(pids))
	for i, p := range pids {
		list[i] = strconv.Itoa(p)
	}
	out, err := exec.CommandContext(ctx, "ps", append(slices.Clone(args), "-q"+strings.Join(list, ","))...).Output()
	if err == nil {
		return out, nil
	}
	out, err = exec.CommandContext(ctx, "ps", args...).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		if line, _, _ := bytes.Cut(failed.Stderr, []byte("\n")); len(line) > 0 {
			err = errors.New(string(line)) // The first line says why.
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	return out, nil
}

// parsePS picks the lines of some processes. A line whose PID is "-" is a thread of the process before it.
func parsePS(out string, pids []int) (*api.TopResponse, error) {
	head, body, _ := strings.Cut(out, "\n")
	top := &api.TopResponse{Titles: words(head)}
	column := slices.Index(top.Titles, "PID")
	if column < 0 {
		return nil, errors.New("Couldn't find PID field in ps output") //nolint:staticcheck // clients know the words
	}
	ours := false
	for line := range strings.SplitSeq(body, "\n") {
		fields := words(line)
		if len(fields) < len(top.Titles) {
			continue
		}
		if fields[column] != "-" {
			pid, err := strconv.Atoi(fields[column])
			if err != nil {
				return nil, fmt.Errorf("Unexpected pid '%s': %w", fields[column], err) //nolint:staticcheck // clients know the words
			}
			ours = slices.Contains(pids, pid)
		}
		if ours {
			last := len(top.Titles) - 1
			top.Processes = append(top.Processes, append(fields[:last:last], strings.Join(fields[last:], " ")))
		}
	}
	return top, nil
}

// words splits at ASCII white space alone: names of programs may have other.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("\t\n\f\r ", r) })
}
