package criu

import (
	"fmt"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
)

// Version is CRIU's: 31701 is 3.17.1.
type Version int

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

// Installed asks CRIU for its version.
func Installed() (Version, error) {
	kind := rpc.CriuReqType_VERSION
	resp, err := (&Call{Request: &rpc.CriuReq{Type: &kind}}).Do()
	if err != nil {
		return 0, err
	}
	v := resp.GetVersion()
	n := Version(v.GetMajorNumber()*10000 + v.GetMinorNumber()*100 + v.GetSublevel())
	if v.GetGitid() != "" { // built from a tree that is on its way to the next release
		n += 100 - n%100
	}
	return n, nil
}

// Need makes sure that CRIU is at least of a version; what is who asks for it.
func (v Version) Need(least Version, what string) error {
	if v < least {
		return fmt.Errorf("%s needs criu %s or newer, this is %s", what, least, v)
	}
	return nil
}

// Feature is something that both CRIU and the kernel must be able to do.
type Feature int

// The features that are asked for.
const (
	MemoryTracking Feature = iota // of pages written since the last dump
	LazyPages
)

// NeedFeature makes sure of a feature; what is who asks for it.
func NeedFeature(f Feature, what string) error {
	yes, kind := true, rpc.CriuReqType_FEATURE_CHECK
	ask := &rpc.CriuFeatures{}
	if f == MemoryTracking {
		ask.MemTrack = &yes
	} else {
		ask.LazyPages = &yes
	}
	resp, err := (&Call{Request: &rpc.CriuReq{Type: &kind, Features: ask}}).Do()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	has := resp.GetFeatures()
	if f == MemoryTracking && has.GetMemTrack() || f == LazyPages && has.GetLazyPages() {
		return nil
	}
	return fmt.Errorf("%s: criu and this kernel can't do that together (criu check --all says more)", what)
}
