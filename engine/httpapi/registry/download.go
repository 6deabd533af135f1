package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/progress"
)

// maxComplaint bounds what is read of an answer that says no, in bytes.
const maxComplaint = 64 << 10

// download gets an archive from an address; its progress goes to the client.
func download(ctx context.Context, from string, out *progress.Writer) (io.ReadCloser, error) {
	if !strings.Contains(from, "://") {
		from = "http://" + from
	}
	u, err := url.Parse(from)
	if err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
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
	if response.StatusCode >= http.StatusBadRequest {
		return nil, refused(u, response)
	}
	out.Message("", "Downloading from "+u.String())
	return &importing{ReadCloser: response.Body, out: out, total: max(response.ContentLength, 0)}, nil
}

// refused says why there is no archive at an address.
func refused(u *url.URL, r *http.Response) error {
	defer r.Body.Close()
	said, err := io.ReadAll(io.LimitReader(r.Body, maxComplaint))
	if err != nil {
		return fault.Errorf(errdefs.ErrUnknown, "failed to GET %s with status %s: error reading body", u, r.Status)
	}
	var class error = errdefs.ErrUnknown
	switch r.StatusCode {
	case http.StatusNotFound:
		class = errdefs.ErrNotFound
	case http.StatusBadRequest:
		class = errdefs.ErrInvalidArgument
	case http.StatusUnauthorized:
		class = errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		class = errdefs.ErrPermissionDenied
	}
	return fault.Errorf(class, "failed to GET %s with status %s: %s", u, r.Status, bytes.TrimSpace(said))
}

// importing tells how far an archive has come.
type importing struct {
	io.ReadCloser
	out      *progress.Writer
	n, total int64
}

// Read implements io.Reader.
func (i *importing) Read(p []byte) (int, error) {
	n, err := i.ReadCloser.Read(p)
	i.n += int64(n)
	if n > 0 {
		i.out.Bytes("", "Importing", i.n, i.total)
	}
	return n, err
}
