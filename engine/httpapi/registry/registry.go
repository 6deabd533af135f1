package registry

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	api "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/registry"
)

// Registry talks to registries.
type Registry interface {
	Pull(context.Context, reference.Named, registry.Request, *progress.Writer) error
	Push(context.Context, reference.Named, registry.Request, *progress.Writer) error
	Login(context.Context, registry.Request) (identityToken string, err error)
	Search(context.Context, registry.Search, registry.Request) ([]api.SearchResult, error)
	Inspect(context.Context, reference.Named, registry.Request) (*api.DistributionInspect, error)
}

// Import is an archive of a root that becomes an image.
type Import struct {
	// Name is a full reference, or empty.
	Name string
	// Platform is what the programs in it run on; nil for this machine.
	Platform *ocispec.Platform
	// Message goes into the history; Changes are instructions of a Dockerfile.
	Message string
	Changes []string
}

// Importer makes images of archives.
type Importer interface {
	Import(context.Context, io.Reader, Import) (id digest.Digest, err error)
}

// New is the routes.
func New(r Registry, i Importer) httpapi.Router {
	b := routes{r, i}
	return httpapi.Routes{
		{Method: http.MethodPost, Path: "/auth", Handle: b.login},
		{Method: http.MethodPost, Path: "/images/create", Handle: b.create},
		{Method: http.MethodPost, Path: "/images/{name:.*}/push", Handle: b.push},
		{Method: http.MethodGet, Path: "/images/search", Handle: b.search},
		{Method: http.MethodGet, Path: "/distribution/{name:.*}/json", Handle: b.inspect, Since: "1.30"},
	}
}

type routes struct {
	Registry
	importer Importer
}

// request is what a client sent along. Credentials that cannot be read count as none, as they always have.
func request(r *http.Request) registry.Request {
	auth, _ := authconfig.Decode(r.Header.Get(api.AuthHeader))
	meta := http.Header{}
	for k, v := range r.Header {
		if strings.HasPrefix(k, "X-Meta-") {
			meta[k] = v
		}
	}
	return registry.Request{Auth: auth, UserAgent: r.UserAgent(), Meta: meta}
}

// stream answers with progress. An error is the answer's status as long as nothing was written.
func stream(w http.ResponseWriter, run func(*progress.Writer) error) error {
	w.Header().Set("Content-Type", "application/json")
	s := httpapi.NewStream(w)
	out := progress.NewWriter(s)
	err := run(out)
	if err == nil {
		s.Start()
		return nil
	}
	if !s.Started() {
		return err
	}
	out.Error(err)
	return nil
}

func (b routes) login(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	auth, err := authconfig.DecodeRequestBody(r.Body)
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	wanted := request(r)
	wanted.Auth = auth
	token, err := b.Login(ctx, wanted)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &api.AuthResponse{Status: "Login Succeeded", IdentityToken: token})
}

// inspect answers what a reference names at its registry.
func (b routes) inspect(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	name := vars["name"]
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return fault.Errorf(errdefs.ErrUnknown, "no manifest found for full image ID")
	}
	if err := allowed(named, errdefs.ErrInvalidArgument); err != nil {
		return err
	}
	found, err := b.Inspect(ctx, named, request(r))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, found)
}

// allowed says no to the name of what is no image.
func allowed(name reference.Named, class error) error {
	if familiar := reference.FamiliarName(name); familiar == "scratch" {
		return fault.Errorf(class, "'%s' is a reserved name", familiar)
	}
	return nil
}
