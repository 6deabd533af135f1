package introspection

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	api "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/shim"
)

// Runtimes tells what a runtime can do; *shim.Launcher does.
type Runtimes interface {
	Info(ctx context.Context, r shim.Request) (*types.RuntimeInfo, error)
}

// Service tells clients what the manager has.
type Service struct {
	api.UnimplementedIntrospectionServer
	uuid     string
	pidns    uint64
	plugins  []*api.Plugin
	runtimes Runtimes
}

// New makes the service. What identifies the manager to its clients is kept below root, where containerd has it:
// BuildKit, for one, names its cache after it.
func New(root string, plugins []*api.Plugin, runtimes Runtimes) (*Service, error) {
	id, err := identity(filepath.Join(root, "io.containerd.grpc.v1.introspection", "uuid"))
	if err != nil {
		return nil, fmt.Errorf("the identity of the manager: %w", err)
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
		return nil, fmt.Errorf("/proc/self/ns/pid: %w", err)
	}
	return &Service{uuid: id, pidns: ns.Ino, plugins: plugins, runtimes: runtimes}, nil
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterIntrospectionServer(server, s) }

// identity reads the UUID in a file, or makes both. A file that a loss of power left empty or torn is made again.
func identity(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if _, err := uuid.Parse(id); err == nil {
		return id, nil
	}
	made, err := uuid.NewRandom()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	beside := path + ".new"
	if err := os.WriteFile(beside, []byte(made.String()), 0o644); err != nil {
		return "", err
	}
	return made.String(), os.Rename(beside, path)
}

// Server says who answers. dockerd and ctr take pid and pid namespace to find out whether they see its processes.
func (s *Service) Server(context.Context, *emptypb.Empty) (*api.ServerResponse, error) {
	return &api.ServerResponse{UUID: s.uuid, Pid: uint64(os.Getpid()), Pidns: s.pidns}, nil
}

// Plugins lists the parts that match one of the filters.
func (s *Service) Plugins(_ context.Context, r *api.PluginsRequest) (*api.PluginsResponse, error) {
	filter, err := filters.ParseAll(r.GetFilters()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err))
	}
	answer := &api.PluginsResponse{}
	for _, p := range s.plugins {
		if filter.Match(fields(p)) {
			answer.Plugins = append(answer.Plugins, p)
		}
	}
	return answer, nil
}

// fields gives filters the fields of a plugin that containerd's give them.
func fields(p *api.Plugin) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) == 0 {
			return "", false
		}
		switch path[0] {
		case "type":
			return p.Type, p.Type != ""
		case "id":
			return p.ID, p.ID != ""
		}
		return "", false
	})
}

// PluginInfo describes one part. For the part that runs tasks, options name a runtime, and its shim is asked.
func (s *Service) PluginInfo(ctx context.Context, r *api.PluginInfoRequest) (*api.PluginInfoResponse, error) {
	answer, err := s.info(ctx, r)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return answer, nil
}

func (s *Service) info(ctx context.Context, r *api.PluginInfoRequest) (*api.PluginInfoResponse, error) {
	var found *api.Plugin
	for _, p := range s.plugins {
		if p.Type == r.GetType() && p.ID == r.GetID() {
			found = p
		}
	}
	name := r.GetType() + "." + r.GetID()
	if found == nil {
		return nil, fmt.Errorf("plugin %s: %w", name, errdefs.ErrNotFound)
	}
	answer := &api.PluginInfoResponse{Plugin: found}
	if r.GetOptions() == nil {
		return answer, nil
	}
	if name != tasks {
		return nil, fmt.Errorf("plugin %s has nothing to tell: %w", name, errdefs.ErrNotImplemented)
	}
	var request types.RuntimeRequest
	if err := unpack(r.GetOptions(), &request); err != nil {
		return nil, fmt.Errorf("options of plugin %s: %w: %w", name, errdefs.ErrInvalidArgument, err)
	}
	info, err := s.runtimes.Info(ctx, shim.Request{Runtime: request.RuntimePath, Options: request.Options})
	if err != nil {
		return nil, err
	}
	extra, err := anypb.New(info)
	if err != nil {
		return nil, err
	}
	// The form of containerd's own messages in an Any has no host before the name.
	extra.TypeUrl = strings.TrimPrefix(extra.TypeUrl, "type.googleapis.com/")
	answer.Extra = extra
	return answer, nil
}

// unpack reads an Any whose type may be written with a host before the name or without one.
func unpack(a *anypb.Any, request *types.RuntimeRequest) error {
	want := string(request.ProtoReflect().Descriptor().FullName())
	if name := a.GetTypeUrl()[strings.LastIndexByte(a.GetTypeUrl(), '/')+1:]; name != want {
		return fmt.Errorf("got a %s, want a %s", name, want)
	}
	return (&anypb.Any{TypeUrl: "type.googleapis.com/" + want, Value: a.GetValue()}).UnmarshalTo(request)
}
