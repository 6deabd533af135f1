package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/progress"
)

func isURL(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

var gitSuffix = regexp.MustCompile(`\.git(?:#.+)?$`)

// isGit says that an address is of a git repository.
func isGit(s string) bool {
	if isURL(s) && gitSuffix.MatchString(s) {
		return true
	}
	for _, prefix := range []string{"git://", "github.com/", "git@"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// archiveTypes are those of archives, and of a Dockerfile.
var archiveTypes = regexp.MustCompile(`(?:application/(?:(?:x\-)?tar|octet\-stream|((?:x\-)?(?:gzip|bzip2?|xz)))|(?:text/plain))`)

const (
	textType   = "text/plain"
	binaryType = "application/octet-stream"
	// maxComplaint bounds what is read of an answer that says no, in bytes; sniffed is what a type is guessed from.
	maxComplaint = 64 << 10
	sniffed      = 100
)

// remote is a Dockerfile or an archive that is somewhere else.
func (b *build) remote(ctx context.Context, address string) (*parser.Result, error) {
	r, err := get(ctx, address)
	if err != nil {
		return nil, prefixed(err, "error downloading remote context "+address)
	}
	defer r.Body.Close()
	kind, body, err := typeOf(r)
	if err != nil {
		return nil, fmt.Errorf("error detecting content type for remote %s: %w", address, err)
	}
	in := &downloading{Reader: body, out: b.out.Writer, id: "Downloading context", step: address, total: max(r.ContentLength, 0)}
	if kind != textType {
		return b.unpacked(in)
	}
	file, err := parser.Parse(io.LimitReader(in, maxFile))
	return file, fault.As(errdefs.ErrInvalidArgument, err)
}

// get asks for an address. An answer that says no is an error with what it says.
func get(ctx context.Context, address string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		var dns *net.DNSError
		if errors.As(err, &dns) && !dns.IsTimeout {
			return nil, fault.As(errdefs.ErrNotFound, err)
		}
		return nil, err
	}
	if response.StatusCode < http.StatusBadRequest {
		return response, nil
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxComplaint))
	if err != nil {
		return nil, fault.Errorf(errdefs.ErrUnknown, "failed to GET %s with status %s: error reading body", address, response.Status)
	}
	return nil, fault.Errorf(classOf(response.StatusCode), "failed to GET %s with status %s: %s", address, response.Status, bytes.TrimSpace(said))
}

func classOf(status int) error {
	switch status {
	case http.StatusNotFound:
		return errdefs.ErrNotFound
	case http.StatusBadRequest:
		return errdefs.ErrInvalidArgument
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	}
	return errdefs.ErrUnknown
}

// prefixed puts words in front of an error and keeps its class.
func prefixed(err error, text string) error {
	if class := fault.Class(err); class != nil {
		return fault.Errorf(class, "%s: %w", text, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

// typeOf is what an answer has, as it says or as it looks.
func typeOf(r *http.Response) (string, io.Reader, error) {
	body := bufio.NewReader(r.Body)
	begin, err := body.Peek(sniffed)
	if len(begin) == 0 {
		return "", nil, errors.New("empty response")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, err
	}
	said := r.Header.Get("Content-Type")
	kind := said
	if said == "" || said == binaryType {
		if kind, _, err = mime.ParseMediaType(http.DetectContentType(begin)); err != nil {
			return "", nil, err
		}
	}
	if kind = archiveTypes.FindString(kind); kind == "" {
		return "", nil, fmt.Errorf("unsupported Content-Type %q", said)
	}
	return kind, body, nil
}

// downloading tells how far a download has come.
type downloading struct {
	io.Reader
	out      *progress.Writer
	id, step string
	n, total int64
}

// Read implements io.Reader.
func (d *downloading) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	d.n += int64(n)
	if n > 0 {
		d.out.Bytes(d.id, d.step, d.n, d.total)
	}
	return n, err
}

// fileName is the name of what an address leads to; empty when nothing tells it.
func fileName(u *url.URL, r *http.Response) string {
	if name := lastPart(u.Path); name != "" {
		return name
	}
	if _, params, err := mime.ParseMediaType(r.Header.Get("Content-Disposition")); err == nil {
		return lastPart(params["filename"])
	}
	return ""
}

// lastPart is the last name of a path that does not end in a slash. It is never a way to somewhere else.
func lastPart(p string) string {
	name := p[strings.LastIndexByte(p, '/')+1:]
	if name == "." || name == ".." || strings.ContainsRune(name, 0) {
		return ""
	}
	return name
}
