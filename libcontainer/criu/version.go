package criu

import (
	"fmt"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// Version is CRIU's: 31701 is 3.17.1.
type Version int

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

// Installed asks CRIU for its version.
func Installed() (Version, error) {
	resp, err := (&Call{Type: versionType}).Do()
	if err != nil {
		return 0, err
	}
	return resp.version, nil
}

// Need makes sure that CRIU is at least of a version; what is who asks for it.
func (v Version) Need(least Version, what string) error {
	if v < least {
		return fault.Unsupported.Errorf("%s needs criu %s or newer, this is %s", what, least, v)
	}
	return nil
}

// Feature is something that both CRIU and the kernel must be able to do: the number of its
// field in criu_features of rpc.proto.
type Feature int

// The features that are asked for.
const (
	MemoryTracking Feature = 1 // of pages written since the last dump
	LazyPages      Feature = 2
)

// NeedFeature makes sure of a feature; what is who asks for it.
func NeedFeature(f Feature, what string) error {
	resp, err := (&Call{Type: featureCheck, feature: f}).Do()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !resp.features[f] {
		return fault.Unsupported.Errorf("%s: criu and this kernel can't do that together (criu check --all says more)", what)
	}
	return nil
}
