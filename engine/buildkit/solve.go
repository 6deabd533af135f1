package buildkit

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Exporters: clients of an engine ask for the first, which puts images into its store. BuildKit alone calls that image.
const (
	engineExporter = "moby"
	imageExporter  = "image"
)

// Attributes of the exporter, and keys of its answer.
const (
	nameAttribute          = "name"
	unpackAttribute        = "unpack"
	danglingAttribute      = "dangling-name-prefix"
	onlyDanglingAttribute  = "danging-name-empty-only" // That is how BuildKit spells it.
	digestKey, namesKey    = "containerimage.digest", "image.name"
	danglingPrefix         = "moby-dangling"
	danglingPrefixOfRecord = danglingPrefix + "@"
)

// solve has something built.
func (r *Relay) solve(ctx context.Context, client grpc.ServerStream, conn *grpc.ClientConn) error {
	var f frame
	if err := client.RecvMsg(&f); err != nil {
		return err
	}
	var req controlapi.SolveRequest
	if err := proto.Unmarshal(f.bytes, &req); err != nil {
		return status.Errorf(codes.InvalidArgument, "request to build: %v", err)
	}
	res, err := r.service.solve(ctx, conn, &req)
	if err != nil {
		return err
	}
	if f.bytes, err = proto.Marshal(res); err != nil {
		return err
	}
	return client.SendMsg(&f)
}

// solve has something built. Errors are the daemon's, with all that it told.
func (s *Service) solve(ctx context.Context, conn *grpc.ClientConn, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	stored, err := fit(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	unplug, err := s.plug(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	defer unplug()
	res, err := controlapi.NewControlClient(conn).Solve(ctx, req)
	if err != nil || !stored {
		return res, err
	}
	if id, err := digest.Parse(res.GetExporterResponse()[digestKey]); err == nil {
		s.o.Images.Built(ctx, req.GetRef(), id, imageNames(res.GetExporterResponse()[namesKey]))
	}
	return res, nil
}

// imageNames are those that an image got; not the one that stands for none.
func imageNames(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(name string) bool {
		return name == "" || strings.HasPrefix(name, danglingPrefixOfRecord)
	})
}

// fit puts what an engine's clients ask for into BuildKit's words, and says whether an image is to be stored.
func fit(req *controlapi.SolveRequest) (stored bool, _ error) {
	if len(req.GetExporters()) == 0 && req.GetExporterDeprecated() != "" {
		req.Exporters = []*controlapi.Exporter{{Type: req.GetExporterDeprecated(), Attrs: req.GetExporterAttrsDeprecated()}}
		req.ExporterDeprecated, req.ExporterAttrsDeprecated = "", nil
	}
	for _, e := range req.GetExporters() {
		if e.GetType() != engineExporter {
			continue
		}
		names, err := fullNames(e.GetAttrs()[nameAttribute])
		if err != nil {
			return false, err
		}
		attributes := map[string]string{unpackAttribute: "true", danglingAttribute: danglingPrefix}
		maps.Copy(attributes, e.GetAttrs())
		attributes[nameAttribute], attributes[onlyDanglingAttribute] = names, "true"
		e.Type, e.Attrs = imageExporter, attributes
		stored = true
	}
	return stored, nil
}

var errDigest = errors.New("build tag cannot contain a digest")

// fullNames are names by commas as images have them: complete, with a tag, each once.
func fullNames(list string) (string, error) {
	var full []string
	for name := range strings.SplitSeq(list, ",") {
		if name == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return "", err
		}
		if _, ok := ref.(reference.Digested); ok {
			return "", errDigest
		}
		if name = reference.TagNameOnly(ref).String(); !slices.Contains(full, name) {
			full = append(full, name)
		}
	}
	return strings.Join(full, ","), nil
}
