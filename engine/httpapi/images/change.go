package images

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/images"
)

func (r *Router) history(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	text := ""
	if !httpapi.Before(ctx, "1.48") {
		text = req.Form.Get("platform")
	}
	p, err := platform(text)
	if err != nil {
		return err
	}
	history, err := r.images.History(ctx, vars["name"], p)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, history)
}

func (r *Router) attestations(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	texts := req.Form["platform"]
	if len(texts) > 1 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "only one platform value is currently supported")
	}
	o := images.AttestationOptions{Statement: httpapi.Bool(req, "statement")}
	if len(texts) == 1 {
		p, err := platform(texts[0])
		if err != nil {
			return err
		}
		o.Platform = p
	}
	for _, t := range req.Form["type"] {
		if t = strings.TrimSpace(t); t != "" {
			o.Types = append(o.Types, t)
		}
	}
	found, err := r.images.Attestations(ctx, vars["name"], o)
	if err != nil {
		return err
	}
	if found == nil {
		found = []api.AttestationStatement{}
	}
	return httpapi.WriteJSON(w, http.StatusOK, found)
}

func (r *Router) tag(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	name, err := repoTag(req.Form.Get("repo"), req.Form.Get("tag"))
	if err != nil {
		return err
	}
	if name == nil {
		// moby answers 200 and does nothing when there is no name.
		return nil
	}
	if reference.FamiliarName(name) == string(digest.Canonical) {
		return fault.Errorf(errdefs.ErrInvalidArgument, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	if err := r.images.TagByName(ctx, vars["name"], name.String()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// repoTag is the reference of a repository and a tag; nil without a repository.
func repoTag(repo, tag string) (reference.NamedTagged, error) {
	if repo == "" {
		return nil, nil
	}
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "cannot import digest reference")
	}
	if tag != "" {
		tagged, err := reference.WithTag(ref, tag)
		return tagged, fault.As(errdefs.ErrInvalidArgument, err)
	}
	tagged, ok := reference.TagNameOnly(ref).(reference.NamedTagged)
	if !ok {
		return nil, fault.As(errdefs.ErrInvalidArgument, errors.New("unexpected reference: "+ref.String()))
	}
	return tagged, nil
}

func (r *Router) remove(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	name := vars["name"]
	if strings.TrimSpace(name) == "" {
		return fault.Errorf(errdefs.ErrInvalidArgument, "image name cannot be blank")
	}
	o := images.DeleteOptions{Force: httpapi.Bool(req, "force"), PruneParents: !httpapi.Bool(req, "noprune")}
	if !httpapi.Before(ctx, "1.50") {
		list, err := decodeAll(req.Form["platforms"])
		if err != nil {
			return err
		}
		o.Platforms = list
	}
	gone, err := r.images.Delete(ctx, name, o)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, gone)
}

func (r *Router) prune(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	args, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return err
	}
	report, err := r.images.Prune(ctx, args)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, report)
}

// commitRequest embeds the configuration, so that an object without fields is none.
type commitRequest struct{ *container.Config }

func (r *Router) commit(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var body commitRequest
	if err := httpapi.ReadJSON(req, &body); err != nil {
		return err
	}
	name, err := repoTag(req.Form.Get("repo"), req.Form.Get("tag"))
	if err != nil {
		return err
	}
	o := images.CommitOptions{
		Container: req.Form.Get("container"), Config: body.Config, Changes: req.Form["changes"],
		Author: req.Form.Get("author"), Comment: req.Form.Get("comment"), Pause: httpapi.BoolOr(req, "pause", true),
	}
	if name != nil {
		o.Name = name.String()
	}
	id, err := r.images.CommitContainer(ctx, o)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, container.CommitResponse{ID: id})
}
