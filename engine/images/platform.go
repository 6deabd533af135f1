package images

import (
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/cpu"

	"github.com/gantry-containers/gantry/engine/fault"
)

// HostPlatform is this machine, with the level of its instruction set: an index may have a variant for it.
func HostPlatform() ocispec.Platform {
	p := platforms.DefaultSpec()
	if p.Architecture == "amd64" {
		p.Variant = amd64Level()
	}
	return p
}

// amd64Level is the x86-64 psABI's level.
func amd64Level() string {
	x := cpu.X86
	v2 := x.HasCX16 && x.HasPOPCNT && x.HasSSE3 && x.HasSSE41 && x.HasSSE42 && x.HasSSSE3
	v3 := v2 && x.HasAVX && x.HasAVX2 && x.HasBMI1 && x.HasBMI2 && x.HasFMA && x.HasOSXSAVE
	v4 := v3 && x.HasAVX512F && x.HasAVX512BW && x.HasAVX512CD && x.HasAVX512DQ && x.HasAVX512VL
	switch {
	case v4:
		return "v4"
	case v3:
		return "v3"
	case v2:
		return "v2"
	}
	return "v1"
}

// matcher says which variants will do, and which is better.
type matcher struct {
	match func(ocispec.Platform) bool
	less  func(a, b ocispec.Platform) bool
}

// anyFor takes every platform, this machine's first.
func (s *Store) anyFor() matcher {
	host := platforms.Only(s.host)
	return matcher{match: func(ocispec.Platform) bool { return true }, less: host.Less}
}

// only is a wanted platform and no compatible one; anyFor when none is wanted.
func (s *Store) only(wanted *ocispec.Platform) matcher {
	if wanted == nil {
		return s.anyFor()
	}
	m := platforms.OnlyStrict(*wanted)
	return matcher{match: m.Match, less: m.Less}
}

// hostOnly takes what this machine runs.
func (s *Store) hostOnly() matcher {
	host := platforms.Only(s.host)
	return matcher{match: host.Match, less: host.Less}
}

// among is several platforms, this machine's first; all when there are none.
func (s *Store) among(wanted []ocispec.Platform) matcher {
	if len(wanted) == 0 {
		return s.anyFor()
	}
	m := platforms.Any(wanted...)
	return matcher{match: m.Match, less: platforms.Only(s.host).Less}
}

// Match implements platforms.MatchComparer.
func (m matcher) Match(p ocispec.Platform) bool { return m.match(p) }

// Less implements platforms.MatchComparer.
func (m matcher) Less(a, b ocispec.Platform) bool { return m.less(a, b) }

// noPlatform is the error for an image that is here, but not for a platform.
func noPlatform(name string, wanted *ocispec.Platform) error {
	what := "any platform"
	if wanted != nil && wanted.OS != "" {
		what = "the specified platform (" + platforms.FormatAll(*wanted) + ")"
	}
	return fault.Errorf(errdefs.ErrNotFound, "image with reference %s was found but does not provide %s", name, what)
}

func formatAll(list []ocispec.Platform) string {
	words := make([]string, 0, len(list))
	for _, p := range list {
		words = append(words, platforms.FormatAll(p))
	}
	return "[" + strings.Join(words, " ") + "]"
}
