package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// stage is how far a task has come, as the next manager needs to know it.
type stage string

const (
	// creating: the client has not been told that there is a task.
	creating stage = "creating"
	// alive: the shim has created it.
	alive stage = "alive"
	// deleted: the shim has deleted it, and the client may not know yet.
	deleted stage = "deleted"
	// ended: the shim is gone, and what it left is cleaned up.
	ended stage = "ended"
)

// exit is how a process ended.
type exit struct {
	Pid    uint32    `json:"pid"`
	Status uint32    `json:"status"` // the exit code, or 128 and the signal's number
	At     time.Time `json:"exited_at"`
}

func (e exit) time() *timestamppb.Timestamp { return timestamppb.New(e.At) }

// record is what the ledger knows of a task.
type record struct {
	Stage      stage  `json:"stage"`
	Bundle     string `json:"bundle,omitempty"` // its identity: another manager may have made another one meanwhile
	Pid        uint32 `json:"pid,omitempty"`
	Born       uint64 `json:"born,omitempty"` // with Pid it names the process
	Stdin      string `json:"stdin,omitempty"`
	Stdout     string `json:"stdout,omitempty"`
	Stderr     string `json:"stderr,omitempty"`
	Terminal   bool   `json:"terminal,omitempty"`
	Exit       *exit  `json:"exit,omitempty"`
	ExitTold   bool   `json:"exit_told,omitempty"`   // the event log has it
	DeleteTold bool   `json:"delete_told,omitempty"` // the event log has it
}

// ledger is a directory with a file for each task, NAMESPACE/ID.json. It has to outlive the manager, not the machine:
// files are replaced in one step, and not synced.
type ledger struct {
	dir string

	mu     sync.RWMutex
	closed bool
}

var errClosed = fmt.Errorf("ledger: the manager has ended: %w", errdefs.ErrUnavailable)

// close leaves the files to the next manager: whatever still runs in this one changes nothing in them any more.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

const ledgerSuffix = ".json"

func (l *ledger) file(k key) string { return filepath.Join(l.dir, k.namespace, k.id+ledgerSuffix) }

func (l *ledger) write(k key, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return errClosed
	}
	file := l.file(k)
	temp := filepath.Join(filepath.Dir(file), "."+k.id+".new")
	err = os.WriteFile(temp, text, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
			err = os.WriteFile(temp, text, 0o600)
		}
	}
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		os.Remove(temp)
	}
	if noSpace(err) {
		err = overwrite(file, text, err)
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// overwrite writes into the file's own block, where there is no room for another: what there is must be deletable. A
// record is shorter than a page, so that the death of the manager leaves the old one or the new one. Spaces make up for
// what an old one was longer. The error for a record that there is not yet, or that has no block of such a length, is full.
func overwrite(file string, text []byte, full error) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return full
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || max(st.Size(), int64(len(text))) > 4096 {
		return full
	}
	text = append(text, bytes.Repeat([]byte{' '}, max(0, int(st.Size())-len(text)))...)
	_, err = f.WriteAt(text, 0)
	return err
}

func (l *ledger) remove(k key) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return errClosed
	}
	if err := os.Remove(l.file(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// read finds all records. What cannot be read is removed, and told: its shim may know.
func (l *ledger) read() (map[key]record, error) {
	namespaces, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	found := map[key]record{}
	var bad []error
	for _, namespace := range namespaces {
		dir := filepath.Join(l.dir, namespace.Name())
		files, err := os.ReadDir(dir)
		if err != nil {
			bad = append(bad, fmt.Errorf("ledger: %w", err))
			continue
		}
		for _, file := range files {
			if strings.HasPrefix(file.Name(), ".") { // half-written
				os.Remove(filepath.Join(dir, file.Name()))
				continue
			}
			r, err := readRecord(filepath.Join(dir, file.Name()))
			if err != nil {
				bad = append(bad, fmt.Errorf("ledger: %w", err))
				os.Remove(filepath.Join(dir, file.Name()))
				continue
			}
			found[key{namespace.Name(), strings.TrimSuffix(file.Name(), ledgerSuffix)}] = r
		}
	}
	return found, errors.Join(bad...)
}

func readRecord(file string) (record, error) {
	var r record
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// bundleExit reads the record that our own shim writes into the bundle before anybody is told of an exit.
func bundleExit(dir string) (exit, bool) {
	var e exit
	text, err := os.ReadFile(filepath.Join(dir, "exit"))
	if err != nil || json.Unmarshal(text, &e) != nil {
		return exit{}, false
	}
	return e, true
}
