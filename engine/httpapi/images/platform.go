package images

import (
	"context"
	"encoding/json"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// platform reads a platform as newer clients send it: a JSON object. Empty is none.
func platform(text string) (*ocispec.Platform, error) {
	if text == "" {
		return nil, nil
	}
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "failed to parse platform: %w", err)
	}
	if p.OS == "" && p.Architecture == "" && (p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0) {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "optional platform fields provided, but OS and Architecture are missing")
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "both OS and Architecture must be provided")
	}
	return &p, nil
}

// platforms reads the platform parameters of save and load, since the versions that have them.
func platforms(ctx context.Context, texts []string) ([]ocispec.Platform, error) {
	if httpapi.Before(ctx, "1.48") {
		return nil, nil
	}
	if len(texts) > 1 && httpapi.Before(ctx, "1.52") {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument,
			"multiple platform parameters are not supported in this API version; use API version 1.52 or later")
	}
	return decodeAll(texts)
}

func decodeAll(texts []string) ([]ocispec.Platform, error) {
	var list []ocispec.Platform
	for _, text := range texts {
		// Unlike for one platform, an empty text is no way to say none.
		if text == "" {
			text = " "
		}
		p, err := platform(text)
		if err != nil {
			return nil, err
		}
		list = append(list, *p)
	}
	return list, nil
}
