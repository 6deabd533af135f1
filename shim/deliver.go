package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	api "github.com/gantry-containers/gantry/shim/api/events"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/events"
	"github.com/gantry-containers/gantry/shim/task"
)

// hurryLimit is how long the daemon, which waits for the delete action, may take for the events.
const hurryLimit = 2 * time.Second

// deliverRest sees to the events that a dead shim has left undelivered. A daemon that lost the shim of a task tells the
// task's exit and delete itself, after this action: so it gets the others now. One that finds the shim dead at its start tells nothing,
// and takes no events yet either: a process that waits for it takes the log over.
func deliverRest(f flags, b *bundle.Bundle, before bundle.Phase, exit ending) error {
	file, err := os.OpenFile(filepath.Join(b.Path(), events.FileName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !listening(os.Getenv(ttrpcAddress)) {
		defer file.Close()
		return f.deliverLater(file, before, exit)
	}
	keep := func(e *types.Envelope) bool { return before == bundle.Deleted || !endsTask(f.id, e) }
	publisher := newPublisher(f)
	log, err := publisher.Adopt(file, keep)
	if err != nil {
		file.Close()
		if errors.Is(err, events.ErrInUse) { // the shim lives, and delivers them
			return nil
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), hurryLimit)
	defer cancel()
	return errors.Join(publisher.Drain(ctx), log.Close())
}

// endsTask says whether an event is the exit of the container's init process, or its delete.
func endsTask(id string, e *types.Envelope) bool {
	if e.Topic == "/tasks/delete" {
		return true
	}
	var exit api.TaskExit
	return e.Topic == "/tasks/exit" && exit.UnmarshalVT(e.Event.GetValue()) == nil && exit.Id == id
}

// listening tries the daemon's socket.
func listening(address string) bool {
	conn, err := net.Dial("unix", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	return true
}

// deliverLater starts this program again with the log, and with what the dead shim could not know any more.
func (f flags) deliverLater(file *os.File, before bundle.Phase, exit ending) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	args := []string{os.Args[0], "-namespace", f.namespace, "-id", f.id, "-address", f.address}
	if before == bundle.Created {
		text, err := json.Marshal(exit)
		if err != nil {
			return err
		}
		args = append(args, "-exit", string(text))
	}
	_, err = syscall.ForkExec("/proc/self/exe", append(args, "deliver"), &syscall.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), file.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("deliver the events later: %w", err)
	}
	return nil
}

// deliver is the action of that process: file 3 is the log.
func deliver(f flags) error {
	file := os.NewFile(3, events.FileName)
	info, err := file.Stat()
	if err != nil {
		return err
	}
	publisher := newPublisher(f)
	publisher.Away(info.ModTime()) // what the daemon took was marked
	log, err := publisher.Adopt(file, nil)
	if err != nil {
		return err
	}
	if f.exit != "" && log.Used() {
		var exit ending
		if err := json.Unmarshal([]byte(f.exit), &exit); err != nil {
			return fmt.Errorf("-exit: %w", err)
		}
		if err := appendEnd(log, f.id, exit); err != nil {
			return err
		}
	}
	return errors.Join(publisher.Drain(context.Background()), log.Close())
}

// appendEnd tells what the shim would have: the exit, if it has not seen it, and the delete.
func appendEnd(log *events.Log, id string, exit ending) error {
	if !exit.Recorded {
		if err := log.Append(task.ExitEvent(id, id, exit.Pid, int(exit.Status), exit.ExitedAt)); err != nil {
			return err
		}
	}
	return log.Append(task.DeleteEvent(id, exit.response()))
}

func newPublisher(f flags) *events.Publisher {
	return events.NewPublisher(os.Getenv(ttrpcAddress), f.namespace)
}
