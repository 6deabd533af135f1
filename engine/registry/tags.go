package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/gantry-containers/gantry/engine/fault"
)

// maxPages bounds how long a registry can go on with a list.
const maxPages = 1000

// tags are all of the repository, from the first host that tells.
func (n *session) tags(ctx context.Context) ([]string, error) {
	hosts, err := n.hosts(ctx, reference.Domain(n.ref))
	if err != nil {
		return nil, err
	}
	scope := "repository:" + reference.Path(n.ref) + ":pull"
	ctx = docker.WithScope(ctx, scope)
	for _, host := range hosts {
		var tags []string
		if tags, err = n.tagsAt(ctx, host); err == nil {
			return tags, nil
		}
	}
	return nil, n.listError(ctx, err)
}

func (n *session) tagsAt(ctx context.Context, host docker.RegistryHost) ([]string, error) {
	next := &url.URL{Scheme: host.Scheme, Host: host.Host, Path: path.Join(host.Path, reference.Path(n.ref), "tags/list")}
	var tags []string
	for range maxPages {
		var page struct {
			Tags []string `json:"tags"`
		}
		response, err := n.get(ctx, host, next, "application/json")
		if err != nil {
			return nil, err
		}
		b, err := answerOf(response)
		if err == nil {
			err = json.Unmarshal(b, &page)
		}
		if err != nil {
			return nil, err
		}
		tags = append(tags, page.Tags...)
		link := nextPage(response.Header.Get("Link"))
		if link == "" {
			return tags, nil
		}
		if next, err = next.Parse(link); err != nil {
			return nil, err
		}
		// A list that goes on elsewhere would take the credentials along.
		if next.Host != host.Host {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "the list of tags of %s goes on at %s", n.ref.Name(), next.Host)
		}
	}
	return nil, fault.Errorf(errdefs.ErrInvalidArgument, "the list of tags of %s does not end", n.ref.Name())
}

// nextPage is the address in a Link header: <address>; rel="next".
func nextPage(link string) string {
	address, rel, ok := strings.Cut(link, ";")
	if !ok || !strings.Contains(rel, `"next"`) {
		return ""
	}
	return strings.Trim(strings.TrimSpace(address), "<>")
}

// get asks a host, as often as its demands for credentials can be met. The answer's body is the caller's.
func (n *session) get(ctx context.Context, host docker.RegistryHost, u *url.URL, accept string) (*http.Response, error) {
	var answers []*http.Response
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, err
		}
		r.Header = n.header.Clone()
		r.Header.Set("Accept", accept)
		maps.Copy(r.Header, host.Header)
		if err := host.Authorizer.Authorize(ctx, r); err != nil {
			return nil, err
		}
		response, err := host.Client.Do(r)
		if err != nil {
			return nil, err
		}
		answers = append(answers, response)
		if response.StatusCode != http.StatusUnauthorized || len(answers) > 2 {
			return response, nil
		}
		if err := host.Authorizer.AddResponses(ctx, answers); err != nil {
			// What the registry says is better than that there was nothing more to try.
			if errdefs.IsNotImplemented(err) {
				return response, nil
			}
			response.Body.Close()
			return nil, noCredentials(response.Request, err)
		}
		response.Body.Close()
	}
}

// noCredentials says which request wanted some.
func noCredentials(r *http.Request, err error) error {
	if !strings.Contains(err.Error(), "no basic auth credentials") {
		return err
	}
	return &url.Error{Op: "Get", URL: r.URL.Redacted(), Err: errors.New("no basic auth credentials")}
}

// refusal is the first of the errors that a registry lists in an answer.
type refusal struct{ Code, Message string }

// Error is the words of old clients of registries: "name unknown: repository name not known to registry".
func (r refusal) Error() string {
	return strings.ToLower(strings.ReplaceAll(r.Code, "_", " ")) + ": " + r.Message
}

// answerOf reads an answer, which may be an error.
func answerOf(r *http.Response) ([]byte, error) {
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode == http.StatusOK {
		return b, err
	}
	var told struct{ Errors []refusal }
	if json.Unmarshal(b, &told) == nil && len(told.Errors) > 0 {
		return nil, told.Errors[0]
	}
	return nil, fault.Errorf(statusClass(r.StatusCode), "unexpected status from %s request to %s: %s", r.Request.Method, r.Request.URL.Redacted(), r.Status)
}

func statusClass(code int) error {
	switch code {
	case http.StatusNotFound:
		return errdefs.ErrNotFound
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	}
	return errdefs.ErrUnknown
}

// listError says in the words that clients know why something is not told of a repository.
func (n *session) listError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	denied := "pull access denied for %s, repository does not exist or may require 'docker login'"
	if errors.Is(err, docker.ErrInvalidAuthorization) && !strings.Contains(err.Error(), "no basic auth credentials") {
		return fault.Errorf(errdefs.ErrNotFound, denied, reference.FamiliarName(n.ref))
	}
	var told refusal
	if !errors.As(err, &told) {
		return err
	}
	switch told.Code {
	case "DENIED":
		return fault.Errorf(errdefs.ErrNotFound, denied+": %w", reference.FamiliarName(n.ref), told)
	case "MANIFEST_UNKNOWN":
		return fault.Errorf(errdefs.ErrNotFound, "manifest for %s not found: %w", reference.FamiliarString(n.ref), told)
	case "NAME_UNKNOWN":
		return fault.Errorf(errdefs.ErrNotFound, "repository %s not found: %w", reference.FamiliarName(n.ref), told)
	case "UNAUTHORIZED":
		return fault.As(errdefs.ErrUnauthenticated, told)
	}
	return fault.As(errdefs.ErrUnknown, told)
}
