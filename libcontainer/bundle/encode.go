package bundle

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/internal/jsonread"
)

//go:generate go run ../internal/jsongen -out encode_gen.go -encode github.com/opencontainers/runtime-spec/specs-go.LinuxResources,github.com/opencontainers/runtime-spec/specs-go.LinuxIntelRdt

// WithResources returns a config.json, which Decode has accepted, with another object
// linux.resources. Everything else stays as it is, fields that nobody here knows too.
func WithResources(raw []byte, resources *specs.LinuxResources) []byte {
	return jsonread.Replace(raw, []string{"linux", "resources"}, appendLinuxResources(nil, resources))
}

// WithIntelRdt is WithResources for linux.intelRdt.
func WithIntelRdt(raw []byte, rdt *specs.LinuxIntelRdt) []byte {
	return jsonread.Replace(raw, []string{"linux", "intelRdt"}, appendLinuxIntelRdt(nil, rdt))
}
