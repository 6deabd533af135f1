package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"time"

	"github.com/gantry-containers/gantry/shim/api/cri"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/sandbox"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// create takes the sandbox's id and finds out what it wants; nothing runs yet.
func (s *Service) create(_ context.Context, r *sandbox.CreateSandboxRequest) (*sandbox.CreateSandboxResponse, error) {
	switch {
	case r.SandboxId == "":
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "sandbox_id is empty")
	case len(r.Rootfs) > 0:
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "rootfs: a sandbox has no image")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pod != nil {
		return nil, ttrpc.Errorf(ttrpc.AlreadyExists, "the shim has a sandbox already, %q", s.pod.id)
	}
	p, err := s.newPod(r)
	if err != nil {
		return nil, err
	}
	s.pod = p
	return &sandbox.CreateSandboxResponse{}, nil
}

func (s *Service) newPod(r *sandbox.CreateSandboxRequest) (*pod, error) {
	b, err := bundle.Open(r.BundlePath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "bundle_path: %w", err)
	}
	if err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "bundle_path: %w", err)
	}
	options, err := b.Options() // those of `start`
	if err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "%w", err)
	}
	w, err := wishesOf(r, b)
	if err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "%w", err)
	}
	if w.Linux.CgroupsPath == "" {
		w.Linux.CgroupsPath = "/" + s.Namespace + "/" + r.SandboxId
	}
	p := &pod{
		id:      r.SandboxId,
		bundle:  b,
		wishes:  w,
		runtime: oci.For(options, s.Namespace, b.RuntimeLog()),
		turn:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
		created: time.Now(),
		view:    view{state: fresh},
	}
	p.turn <- struct{}{}
	return p, nil
}

// wishesOf finds what the client wants, in the bundle and in the request.
func wishesOf(r *sandbox.CreateSandboxRequest, b *bundle.Bundle) (*wishes, error) {
	w, err := readWishes(b.Path())
	if errors.Is(err, fs.ErrNotExist) {
		w = defaultWishes()
	} else if err != nil {
		return nil, err
	}
	config, err := podConfig(r.Options)
	if err != nil {
		return nil, err
	}
	if config != nil {
		w.fromCRI(config, r.SandboxId)
		if w.files, err = filesFor(config, w); err != nil {
			return nil, err
		}
	}
	if r.NetnsPath != "" {
		w.setNamespace("network", r.NetnsPath)
	}
	if w.Annotations == nil {
		w.Annotations = map[string]string{}
	}
	maps.Copy(w.Annotations, r.Annotations)
	return w, nil
}

// configType is the type of the options that the CRI plugin gives.
const configType = "runtime.v1.PodSandboxConfig"

// podConfig decodes the options; nil if there are none.
func podConfig(options *known.Any) (*cri.PodSandboxConfig, error) {
	if options == nil || options.TypeUrl == "" && len(options.Value) == 0 {
		return nil, nil
	}
	if bundle.Type(options) != configType {
		return nil, &bundle.OptionsError{Type: options.TypeUrl, Err: errors.New("want " + configType)}
	}
	var config cri.PodSandboxConfig
	if err := config.UnmarshalVT(options.Value); err != nil {
		return nil, &bundle.OptionsError{Type: options.TypeUrl, Err: err}
	}
	return &config, nil
}
