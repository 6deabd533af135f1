package httpapi

import (
	"context"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// The API versions that this engine speaks.
const (
	MinVersion = "1.24"
	MaxVersion = "1.56"
)

type versionKey struct{}

// Version is the API version that the client asked for ("1.41").
func Version(ctx context.Context) string {
	if v, ok := ctx.Value(versionKey{}).(string); ok {
		return v
	}
	return MaxVersion
}

// WithVersion is a context for a request in an API version.
func WithVersion(ctx context.Context, version string) context.Context {
	return context.WithValue(ctx, versionKey{}, version)
}

// Before says that the client's API version is older than another one.
func Before(ctx context.Context, version string) bool {
	return compare(Version(ctx), version) < 0
}

// compare orders versions of the form 1.41: negative when a is older. What is no number counts as zero.
func compare(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if d := part(as, i) - part(bs, i); d != 0 {
			return d
		}
	}
	return 0
}

func part(s []string, i int) int {
	if i >= len(s) {
		return 0
	}
	n, _ := strconv.Atoi(s[i])
	return n
}

// supported says no to versions out of a range. Clients read these words.
func supported(version, lowest, highest string) error {
	switch {
	case compare(version, lowest) < 0:
		return fault.Errorf(errdefs.ErrInvalidArgument, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", version, lowest)
	case compare(version, highest) > 0:
		return fault.Errorf(errdefs.ErrInvalidArgument, "client version %s is too new. Maximum supported API version is %s", version, highest)
	}
	return nil
}
