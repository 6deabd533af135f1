package version

import (
	"context"
	"strings"

	api "github.com/containerd/containerd/api/services/version/v1"
	containerd "github.com/containerd/containerd/v2/version"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Service answers what this manager is.
type Service struct {
	api.UnimplementedVersionServer
	answer *api.VersionResponse
}

// New makes the service from the version and the commit of the build.
func New(version, revision string) *Service {
	return &Service{answer: &api.VersionResponse{Version: Compatible(version), Revision: revision}}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterVersionServer(server, s) }

// Compatible is the version for clients. They, and what people have built on them, compare it with versions of
// containerd to learn what they can ask for; so it is that of the containerd whose API is served, taken from the
// linked library, and our own comes as what semantic versions call build metadata, which no comparison looks at.
func Compatible(own string) string {
	return API() + "+gantry." + strings.Map(metadata, own)
}

// API is the version of the containerd whose API is served.
func API() string {
	base, _, _ := strings.Cut(strings.TrimPrefix(containerd.Version, "v"), "+")
	return base
}

// metadata replaces what build metadata may not contain.
func metadata(r rune) rune {
	switch {
	case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '.', r == '-':
		return r
	}
	return '-'
}

// Version answers.
func (s *Service) Version(context.Context, *emptypb.Empty) (*api.VersionResponse, error) {
	return s.answer, nil
}
