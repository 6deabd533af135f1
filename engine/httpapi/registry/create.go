package registry

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
)

// create pulls an image, or makes one of an archive.
func (b routes) create(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	q := r.URL.Query()
	var platform *ocispec.Platform
	if p := q.Get("platform"); p != "" && !httpapi.Before(ctx, "1.32") {
		parsed, err := platforms.Parse(p)
		if err != nil {
			return fault.As(errdefs.ErrInvalidArgument, err)
		}
		platform = &parsed
	}
	image := q.Get("fromImage")
	if image == "" {
		return b.importArchive(ctx, w, r, platform)
	}
	ref, err := pullReference(image, q.Get("tag"))
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	if err := allowed(ref, errdefs.ErrPermissionDenied); err != nil {
		return err
	}
	return stream(w, func(out *progress.Writer) error {
		wanted := request(r)
		wanted.Platform = platform
		return b.Pull(ctx, ref, wanted, out)
	})
}

// pullReference is what to pull. The tag may be a digest; old clients leave a colon when they want all tags.
func pullReference(image, tag string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(strings.TrimSuffix(image, ":"))
	if err != nil || tag == "" {
		return ref, err
	}
	if d, err := digest.Parse(tag); err == nil {
		return reference.WithDigest(reference.TrimNamed(ref), d)
	}
	return reference.WithTag(ref, tag)
}

// importArchive makes an image of the request's body, or of what an address has.
func (b routes) importArchive(ctx context.Context, w http.ResponseWriter, r *http.Request, platform *ocispec.Platform) error {
	q := r.URL.Query()
	from := q.Get("fromSrc")
	name, err := importName(q.Get("repo"), q.Get("tag"))
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	i := Import{Name: name, Platform: platform, Message: q.Get("message"), Changes: q["changes"]}
	if i.Message == "" {
		i.Message = "Imported from " + from
	}
	return stream(w, func(out *progress.Writer) error {
		var archive io.Reader = r.Body
		if from != "-" {
			remote, err := download(ctx, from, out)
			if err != nil {
				return err
			}
			defer remote.Close()
			archive = remote
		}
		id, err := b.importer.Import(ctx, archive, i)
		if err == nil {
			out.Message("", id.String())
		}
		return err
	})
}

// importName is a full reference, or empty.
func importName(repo, tag string) (string, error) {
	if repo == "" {
		return "", nil
	}
	ref, err := taggedReference(repo, tag)
	if err != nil {
		return "", err
	}
	return ref.String(), nil
}

// taggedReference is a repository with a tag; latest when there is none.
func taggedReference(repo, tag string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, err
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "cannot import digest reference")
	}
	if tag != "" {
		return reference.WithTag(ref, tag)
	}
	return reference.TagNameOnly(ref), nil
}
