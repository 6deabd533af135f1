package httpapi

import (
	"context"
	"net/http"
)

// Handler answers one request. Its error becomes the answer, by its class in github.com/containerd/errdefs, unless
// something was written before.
type Handler func(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error

// Route is one endpoint. A path may have variables of gorilla/mux ("{name:.*}"); it has no version.
type Route struct {
	Method, Path string
	Handle       Handler
	// Since is the API version that brought the endpoint; empty for the oldest that is served.
	Since string
}

// Router is the endpoints of one resource.
type Router interface {
	Routes() []Route
}

// Routes is a Router by itself.
type Routes []Route

// Routes implements Router.
func (r Routes) Routes() []Route { return r }
