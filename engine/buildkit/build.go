package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/platforms"
	controlapi "github.com/moby/buildkit/api/services/control"
	apibuild "github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/engine/build"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/progress"
)

// Request is a build by a request of the engine's own API.
type Request struct {
	*build.Request
	// Session of the client's, and ID by which the build can be ended; may be empty.
	Session, ID string
	Outputs     []Output
}

// Output is what becomes of the result.
type Output struct {
	Type  string
	Attrs map[string]string
}

// Where a context comes from that does not come with its request.
const (
	remoteSession = "client-session"
	remoteUpload  = "upload-request"
)

// nothing is the output of a build for the cache alone.
const nothing = "cacheonly"

// Build builds, and tells the steps in BuildKit's form. The id is that of the image, if one is stored.
func (s *Service) Build(ctx context.Context, r *Request, out *progress.Writer) (id string, err error) {
	if strings.HasPrefix(r.ID, uploadPrefix) {
		return "", s.builds.bring(ctx, r.ID, r.Context)
	}
	ctx, done := s.builds.begin(ctx, r.ID)
	defer done()
	req, err := s.request(r)
	if err != nil {
		return "", err
	}
	body := r.Context
	if r.Remote == remoteUpload {
		u, err := s.builds.await(ctx, r.ID)
		if err != nil {
			return "", err
		}
		defer u.finish()
		body = u
	}
	conn, release, err := s.Use(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if r.Remote == "" || r.Remote == remoteUpload {
		h, err := host(ctx, conn, body)
		if err != nil {
			return "", err
		}
		defer h.end()
		req.FrontendAttrs["context"] = h.url
		if req.Session == "" {
			req.Session = h.id
		}
	}
	return s.follow(ctx, conn, req, out)
}

// follow has something built and tells how it goes.
func (s *Service) follow(ctx context.Context, conn *grpc.ClientConn, req *controlapi.SolveRequest, out *progress.Writer) (id string, err error) {
	wanted := len(req.GetExporters()) == 1 && (req.GetExporters()[0].GetType() == engineExporter || req.GetExporters()[0].GetType() == imageExporter)
	var g errgroup.Group
	g.Go(func() error {
		res, err := s.solve(ctx, conn, req)
		if err != nil || !wanted {
			return err
		}
		if id = res.GetExporterResponse()[digestKey]; id == "" {
			return errors.New("missing image id")
		}
		return nil
	})
	// The steps are told to the end, also those of a build that was broken off.
	g.Go(func() error { return steps(context.WithoutCancel(ctx), conn, req.GetRef(), out) })
	if err := g.Wait(); err != nil {
		return "", plain(err)
	}
	if id != "" {
		out.AuxOf("moby.image.id", apibuild.Result{ID: id})
	}
	return id, nil
}

// plain is an error of the daemon without the words that say that it came from one.
func plain(err error) error {
	if st, ok := status.FromError(err); ok {
		return fault.Errorf(errgrpc.ToNative(err), "%s", st.Message())
	}
	return err
}

// steps tells a build's steps until it has ended.
func steps(ctx context.Context, conn *grpc.ClientConn, ref string, out *progress.Writer) error {
	stream, err := controlapi.NewControlClient(conn).Status(ctx, &controlapi.StatusRequest{Ref: ref})
	for err == nil {
		var st *controlapi.StatusResponse
		if st, err = stream.Recv(); err != nil {
			break
		}
		var b []byte
		if b, err = proto.Marshal(st); err == nil {
			out.AuxOf("moby.buildkit.trace", b)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// request puts a request in BuildKit's words. The context is still to be added.
func (s *Service) request(r *Request) (*controlapi.SolveRequest, error) {
	if len(r.Outputs) > 1 {
		return nil, errors.New("multiple outputs not supported")
	}
	attributes := map[string]string{"cache-from": strings.Join(r.CacheFrom, ","), "image-resolve-mode": "default"}
	set := func(key, v string) {
		if v != "" {
			attributes[key] = v
		}
	}
	set("target", r.Target)
	if r.Dockerfile != "." {
		set("filename", r.Dockerfile)
	}
	if r.Remote != remoteSession && r.Remote != remoteUpload {
		set("context", r.Remote)
	}
	for k, v := range r.Args {
		if v != nil {
			attributes["build-arg:"+k] = *v
		}
	}
	for k, v := range r.Labels {
		attributes["label:"+k] = v
	}
	if r.NoCache {
		attributes["no-cache"] = ""
	}
	if r.Pull {
		attributes["image-resolve-mode"] = "pull"
	}
	if r.Platform != "" {
		if _, err := platforms.Parse(r.Platform); err != nil {
			return nil, fault.As(errdefs.ErrInvalidArgument, err)
		}
		attributes["platform"] = r.Platform
	}
	if err := s.limits(r, attributes); err != nil {
		return nil, err
	}
	req := &controlapi.SolveRequest{
		Ref: names.ID(), Frontend: "dockerfile.v0", FrontendAttrs: attributes, Session: r.Session, Cache: &controlapi.CacheOptions{},
		Exporters: exporters(r),
	}
	if v := r.Args["BUILDKIT_INLINE_CACHE"]; v != nil {
		if inline, err := strconv.ParseBool(*v); err == nil && inline {
			req.Cache.Exports = []*controlapi.CacheOptionsEntry{{Type: "inline"}}
		}
	}
	if r.Network == network.NetworkHost {
		req.Entitlements = []string{"network.host"}
	}
	return req, nil
}

// limits are what steps run with.
func (s *Service) limits(r *Request, attributes map[string]string) error {
	switch r.Network {
	case network.NetworkHost, network.NetworkNone:
		attributes["force-network-mode"] = r.Network
	case "", network.NetworkDefault:
	default:
		return fmt.Errorf("network mode %q not supported by buildkit", r.Network)
	}
	hosts, err := s.hosts(r.ExtraHosts)
	if err != nil {
		return err
	}
	attributes["add-hosts"] = hosts
	if r.ShmSize > 0 {
		attributes["shm-size"] = strconv.FormatInt(r.ShmSize, 10)
	}
	var ulimits []string
	for _, u := range r.Resources.Ulimits {
		ulimits = append(ulimits, u.String())
	}
	if len(ulimits) > 0 {
		attributes["ulimit"] = strings.Join(ulimits, ",")
	}
	return nil
}

// hosts are name:address in BuildKit's form.
func (s *Service) hosts(list []string) (string, error) {
	const gateway = "host-gateway"
	var all []string
	for _, h := range list {
		name, ip, ok := strings.Cut(h, ":")
		if !ok || name == "" || ip == "" {
			return "", errors.New("invalid host " + h)
		}
		if ip != gateway {
			all = append(all, name+"="+ip)
			continue
		}
		ips := s.o.Settings().Network.HostGatewayIPs
		if len(ips) == 0 {
			return "", errors.New("unable to derive the IP value for host-gateway")
		}
		for _, ip := range ips {
			all = append(all, name+"="+ip.String())
		}
	}
	return strings.Join(all, ","), nil
}

// exporters is one, or none for a build that leaves nothing but cache.
func exporters(r *Request) []*controlapi.Exporter {
	e := &controlapi.Exporter{Type: engineExporter, Attrs: map[string]string{}}
	if len(r.Outputs) == 1 {
		if r.Outputs[0].Type == nothing {
			return nil
		}
		e.Type = r.Outputs[0].Type
		maps.Copy(e.Attrs, r.Outputs[0].Attrs)
	}
	if (e.Type == engineExporter || e.Type == imageExporter) && len(r.Tags) > 0 {
		e.Attrs[nameAttribute] = strings.Join(r.Tags, ",")
	}
	return []*controlapi.Exporter{e}
}
