package system

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	specs "github.com/opencontainers/runtime-spec/specs-go/features"
)

// program is what a program said about itself.
type program struct {
	version, commit string
	found           bool
	changed         time.Time
}

// ask runs a program with --version, once for each state of its file.
func (s *Service) ask(ctx context.Context, name string) program {
	path, err := s.o.Find(name)
	if err != nil {
		return program{}
	}
	st, err := os.Stat(path)
	if err != nil {
		return program{}
	}
	s.mu.Lock()
	known, ok := s.programs[path]
	s.mu.Unlock()
	if ok && known.changed.Equal(st.ModTime()) {
		return known
	}
	v, _, _ := s.once.Do("program "+path, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "--version").Output() //nolint:forbidigo // once: no other way to learn an init's or a runtime's version
		if err != nil {
			return program{}, err
		}
		p := parseVersion(string(out))
		p.changed = st.ModTime()
		s.mu.Lock()
		s.programs[path] = p
		s.mu.Unlock()
		return p, nil
	})
	p, _ := v.(program)
	return p
}

// parseVersion reads "runc version 1.3.0\ncommit: v1.3.0-0-g4ca628d1\n…" and "tini version 0.19.0 - git.de40ad0".
func parseVersion(out string) program {
	p := program{found: true}
	for i, line := range strings.Split(out, "\n") {
		words := strings.Fields(line)
		switch {
		case i == 0 && len(words) >= 3 && words[1] == "version":
			p.version = words[2]
			if _, commit, ok := strings.Cut(line, "git."); ok {
				p.commit = strings.TrimSpace(commit)
			}
		case len(words) == 2 && words[0] == "commit:":
			p.commit = words[1]
		}
	}
	return p
}

// runcShim is the runtime of runc, and of all programs with runc's command line.
const runcShim = "io.containerd.runc.v2"

// featureKey is where clients look for a runtime's features.
const featureKey = "org.opencontainers.runtime-spec.features"

// status is what info tells about a runtime. It is empty when the manager cannot ask it.
func (s *Service) status(ctx context.Context, runtime, binary string) map[string]string {
	key := runtime + "\x00" + binary
	s.mu.Lock()
	known, ok := s.features[key]
	s.mu.Unlock()
	if ok && time.Since(known.at) < featuresAge {
		return known.status
	}
	v, _, _ := s.once.Do("runtime "+key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		found := features{at: time.Now(), status: s.askRuntime(ctx, runtime, binary)}
		s.mu.Lock()
		s.features[key] = found
		s.mu.Unlock()
		return found, nil
	})
	found, _ := v.(features)
	return found.status
}

// askRuntime lets the manager ask a runtime.
func (s *Service) askRuntime(ctx context.Context, runtime, binary string) map[string]string {
	var opts any
	if binary != "" {
		opts = &options.Options{BinaryName: binary}
	}
	info, err := s.o.Manager.RuntimeInfo(ctx, runtime, opts)
	if err != nil || info.Features == nil {
		return nil
	}
	f, ok := info.Features.(*specs.Features)
	if !ok {
		return nil
	}
	return encodeFeatures(f)
}

func encodeFeatures(f *specs.Features) map[string]string {
	b, err := json.Marshal(f)
	if err != nil {
		return nil
	}
	return map[string]string{featureKey: string(b)}
}
