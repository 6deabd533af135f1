package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/oci"
)

// featuresType is how containerd names the runtime-spec's features document, which is JSON.
const featuresType = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

// featuresTime is how long the runtime may take to tell what it can do.
const featuresTime = 5 * time.Second

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s:\n  Version:  %s\n  Revision: %s\n  Go version: %s\n\n",
		filepath.Base(os.Args[0]), version, commit, runtime.Version())
	return err
}

// info answers what the shim is and what the runtime can do that the options on stdin, if any, ask for.
func info(stdin io.Reader, stdout io.Writer) error {
	data, err := io.ReadAll(io.LimitReader(stdin, maxStdin))
	if err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	answer := &types.RuntimeInfo{Name: runtimeName, Version: &types.RuntimeVersion{Version: version, Revision: commit}}
	var given known.Any
	if err := given.UnmarshalVT(data); err != nil {
		return fmt.Errorf("stdin: the options: %w", err)
	}
	options, err := bundle.DecodeOptions(&given)
	if err != nil {
		return err
	}
	if len(data) != 0 {
		answer.Options = &given
	}
	if answer.Features, err = features(oci.For(options, "", "")); err != nil {
		return err
	}
	if data, err = answer.MarshalVT(); err != nil {
		return err
	}
	_, err = stdout.Write(data)
	return err
}

// features are those of the runtime; nil where it has no such command (runtime-spec 1.1 brought it). That the binary
// is missing is an error.
func features(r *oci.Runtime) (*known.Any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), featuresTime)
	defer cancel()
	document, err := r.Features(ctx)
	switch {
	case errors.Is(err, oci.ErrNoRuntime):
		return nil, err
	case err != nil || !json.Valid(document):
		return nil, nil
	}
	return &known.Any{TypeUrl: featuresType, Value: document}, nil
}
