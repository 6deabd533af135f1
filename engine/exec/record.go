package exec

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	api "github.com/moby/moby/api/types/container"
)

// record is what the next engine finds of an exec. The folder does not outlive the machine: neither do processes.
type record struct {
	ID, Container string
	Request       api.ExecCreateRequest
	DetachKeys    []byte
	Running       bool
	// Pid stays after the end.
	Pid int
	// ExitCode is nil until it ended.
	ExitCode *int
	// Finished says that neither the keeper nor the manager has it any more.
	Finished bool
}

// Open reads the execs of a folder, which is made when it is missing. Reconcile asks what became of them.
func Open(dir string, parts Parts) (*Service, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Service{Parts: parts, dir: dir, execs: map[string]*process{}, specs: map[string]known{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		id, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			_ = os.Remove(path) // A write that was cut off.
			continue
		}
		r, err := read(path)
		if err != nil || r.ID != id {
			slog.Warn("exec cannot be read", "file", path, "error", err)
			continue
		}
		s.execs[id] = restored(r)
	}
	s.sweepLater()
	return s, nil
}

func restored(r *record) *process {
	p := newProcess(*r)
	if r.Running || r.ExitCode != nil {
		close(p.started)
	}
	if r.ExitCode != nil {
		p.ended = time.Now()
		p.unfinished = !r.Finished
		close(p.exited)
	}
	return p
}

func newProcess(r record) *process {
	return &process{record: r, started: make(chan struct{}), exited: make(chan struct{})}
}

func read(path string) (*record, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r record
	return &r, json.Unmarshal(b, &r)
}

func (s *Service) path(id string) string { return filepath.Join(s.dir, id+".json") }

// save writes a record as it is now. Only the next engine reads it: when that fails, this one goes on.
func (s *Service) save(id string) {
	// Whoever comes last writes last, and what is newest by then.
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	p := s.execs[id]
	if p == nil {
		s.mu.Unlock()
		return // Forgotten.
	}
	r := p.record
	s.mu.Unlock()
	b, err := json.Marshal(&r)
	if err == nil {
		tmp := filepath.Join(s.dir, id+".new")
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, s.path(id))
		}
	}
	if err != nil {
		slog.Error("exec is not saved", "exec", id, "error", err)
	}
}

// finished notes that nothing of an exec is left but its record.
func (s *Service) finished(p *process) {
	s.mu.Lock()
	p.Finished = true
	s.mu.Unlock()
	s.save(p.ID)
}

// keep is how long an exec that has ended can be asked for.
const keep = 5 * time.Minute

// sweepLater forgets ended execs in a while, if there are any. The lock is held by the caller, or nobody else is there.
func (s *Service) sweepLater() {
	if s.sweep != nil {
		return
	}
	for _, p := range s.execs {
		if !p.ended.IsZero() {
			s.sweep = time.AfterFunc(keep, s.forgetOld)
			return
		}
	}
}

func (s *Service) forgetOld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.execs {
		if !p.ended.IsZero() && time.Since(p.ended) >= keep {
			s.forget(id)
		}
	}
	s.sweep = nil
	s.sweepLater()
}

// forget needs the lock.
func (s *Service) forget(id string) {
	delete(s.execs, id)
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Error("exec is not forgotten", "exec", id, "error", err)
	}
}
