package httpapi

import (
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// ParseForm reads the query, and a form in the body, whatever the body is declared as.
func ParseForm(r *http.Request) error {
	if err := r.ParseForm(); err != nil && !strings.HasPrefix(err.Error(), "mime:") {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	return nil
}

// Bool is a parameter as the API has always read it: everything but "", 0, no, false and none is yes.
func Bool(r *http.Request, key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.FormValue(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// BoolOr is a parameter that means something when it is not there.
func BoolOr(r *http.Request, key string, absent bool) bool {
	if err := ParseForm(r); err != nil || !r.Form.Has(key) {
		return absent
	}
	return Bool(r, key)
}
