package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/build"
	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// request reads the parameters of a build. Their body is the context.
func request(ctx context.Context, r *http.Request) (*buildkit.Request, error) {
	q := r.URL.Query()
	r.Form = q // A context is never a form, whatever it is declared as.
	b := &build.Request{
		Context: r.Body, Remote: q.Get("remote"), Dockerfile: q.Get("dockerfile"), Target: q.Get("target"), Tags: q["t"],
		NoCache: httpapi.Bool(r, "nocache"), Pull: httpapi.Bool(r, "pull"),
		Remove: httpapi.Bool(r, "rm") || q.Get("rm") == "" || httpapi.Bool(r, "forcerm"), ForceRemove: httpapi.Bool(r, "forcerm"),
		Squash: httpapi.Bool(r, "squash"),
		Auths:  credentials(r.Header), Limits: limits(r),
	}
	if _, ok := q["securityopt"]; ok {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "security options are not supported on linux")
	}
	if !httpapi.Before(ctx, "1.32") {
		b.Platform = q.Get("platform")
	}
	k := &buildkit.Request{Request: b, Session: q.Get("session"), ID: q.Get("buildid")}
	return k, decodeAll(ctx, r, k)
}

// limits are those of the containers of steps. Numbers that are none count as not given, as they always have.
func limits(r *http.Request) build.Limits {
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(r.FormValue(key), 10, 64)
		return n
	}
	q := r.URL.Query()
	return build.Limits{
		Network: q.Get("networkmode"), ExtraHosts: q["extrahosts"],
		Resources: container.Resources{
			CgroupParent: q.Get("cgroupparent"), CpusetCpus: q.Get("cpusetcpus"), CpusetMems: q.Get("cpusetmems"),
			CPUShares: number("cpushares"), CPUPeriod: number("cpuperiod"), CPUQuota: number("cpuquota"),
			Memory: number("memory"), MemorySwap: number("memswap"),
		},
	}
}

// decodeAll reads the parameters that can be wrong.
func decodeAll(ctx context.Context, r *http.Request, b *buildkit.Request) (err error) {
	q := r.URL.Query()
	if !httpapi.Before(ctx, "1.40") {
		if err := decode(q.Get("outputs"), &b.Outputs, "invalid outputs specified"); err != nil {
			return err
		}
	}
	if s := q.Get("shmsize"); s != "" {
		if b.ShmSize, err = strconv.ParseInt(s, 10, 64); err != nil {
			return err
		}
	}
	if b.Isolation = container.Isolation(q.Get("isolation")); b.Isolation != "" && !b.Isolation.IsDefault() {
		if !b.Isolation.IsValid() {
			return fault.Errorf(errdefs.ErrInvalidArgument, "unsupported isolation: %q", b.Isolation)
		}
	}
	for _, p := range []struct {
		key, text string
		value     any
	}{
		{"ulimits", "error reading ulimit settings", &b.Resources.Ulimits},
		{"buildargs", "error reading build args", &b.Args},
		{"labels", "error reading labels", &b.Labels},
		{"cachefrom", "error reading cache-from", &b.CacheFrom},
	} {
		if err := decode(q.Get(p.key), p.value, p.text); err != nil {
			return err
		}
	}
	return nil
}

func decode(text string, v any, what string) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "%s: %w", what, err)
	}
	return nil
}

// version is which builder is asked for.
func version(v string) (api.BuilderVersion, error) {
	switch b := api.BuilderVersion(v); b {
	case "":
		return api.BuilderV1, nil
	case api.BuilderV1, api.BuilderBuildKit:
		return b, nil
	}
	return "", fault.Errorf(errdefs.ErrInvalidArgument, "invalid version %q", v)
}

// credentials are the client's by registry. Those that cannot be read count as none, as they always have.
func credentials(h http.Header) map[string]registry.AuthConfig {
	auths := map[string]registry.AuthConfig{}
	if text := h.Get("X-Registry-Config"); text != "" {
		_ = json.NewDecoder(base64.NewDecoder(base64.URLEncoding, strings.NewReader(text))).Decode(&auths)
	}
	return auths
}
