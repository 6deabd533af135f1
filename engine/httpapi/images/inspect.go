package images

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/storage"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/images"
)

func (r *Router) inspect(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	o := images.InspectOptions{Identity: !httpapi.Before(ctx, "1.53")}
	o.Manifests = !httpapi.Before(ctx, "1.48") && httpapi.Bool(req, "manifests")
	if !httpapi.Before(ctx, "1.49") {
		p, err := platform(req.Form.Get("platform"))
		if err != nil {
			return err
		}
		o.Platform = p
	}
	if o.Manifests && o.Platform != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "conflicting options: manifests and platform options cannot both be set")
	}
	in, err := r.images.Inspect(ctx, vars["name"], o)
	if err != nil {
		return err
	}
	in.RepoTags, in.RepoDigests = list(in.RepoTags), list(in.RepoDigests)
	extra := legacy(ctx, in)
	if len(extra) == 0 {
		return httpapi.WriteJSON(w, http.StatusOK, in.InspectResponse)
	}
	merged, err := extend(in.InspectResponse, extra)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, merged)
}

// legacy is the fields that the client's version knows, and newer ones leave out. It changes what had another value.
func legacy(ctx context.Context, in *images.Inspected) map[string]any {
	extra := map[string]any{}
	if httpapi.Before(ctx, "1.44") {
		extra["VirtualSize"] = in.Size
		if in.Created == "" {
			in.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	if httpapi.Before(ctx, "1.45") {
		extra["Container"], extra["ContainerConfig"] = "", nil
	}
	if httpapi.Before(ctx, "1.48") {
		in.Descriptor = nil
	}
	if !httpapi.Before(ctx, "1.52") {
		if in.Parent != "" {
			extra["Parent"] = in.Parent
		}
		return extra
	}
	maps.Copy(extra, map[string]any{"Parent": in.Parent, "Comment": in.Comment, "DockerVersion": "", "Author": in.Author})
	extra["Config"] = legacyConfig(ctx)
	in.GraphDriver = &storage.DriverData{Name: in.Snapshotter}
	return extra
}

// legacyConfig is the fields of Config that were there even when they were not set.
func legacyConfig(ctx context.Context) map[string]any {
	fields := map[string]any{
		"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": "",
	}
	if httpapi.Before(ctx, "1.50") {
		for _, k := range []string{"AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"} {
			fields[k] = false
		}
		for _, k := range []string{"Domainname", "Hostname", "Image"} {
			fields[k] = ""
		}
	}
	return fields
}

// extend is a value as JSON with further fields where it has none of that name.
func extend(v any, extra map[string]any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	fill(out, extra)
	return out, nil
}

func fill(to, from map[string]any) {
	for k, v := range from {
		inner, ok := v.(map[string]any)
		if have, is := to[k].(map[string]any); ok && is {
			fill(have, inner)
			continue
		}
		if to[k] == nil {
			to[k] = v
		}
	}
}
