package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

// maxInfos is how many answers are kept.
const maxInfos = 64

// Info asks a runtime's shim what it is; answers are kept as long as the binary is the same. Errors as Start's.
func (l *Launcher) Info(ctx context.Context, r Request) (*types.RuntimeInfo, error) {
	binary, err := l.binaries.resolve(r.Runtime)
	if err != nil {
		return nil, err
	}
	file, err := identify(binary)
	if err != nil {
		return nil, err
	}
	stdin := []byte{}
	if r.Options != nil {
		if stdin, err = proto.Marshal(r.Options); err != nil {
			return nil, err
		}
	}
	key := fmt.Sprintf("%s %v %s", binary, file, stdin)
	l.mu.Lock()
	known := l.infos[key]
	l.mu.Unlock()
	if known != nil {
		return proto.Clone(known).(*types.RuntimeInfo), nil
	}
	out, _, err := run{
		binary: binary, args: []string{"-info"}, stdin: stdin, limit: l.limits.info, env: append(os.Environ(), l.config.Env...),
	}.do(ctx)
	if err != nil {
		return nil, fmt.Errorf("-info of %s: %w: %w", filepath.Base(binary), err, errdefs.ErrUnavailable)
	}
	info := &types.RuntimeInfo{}
	if err := proto.Unmarshal(out, info); err != nil || info.Name == "" {
		return nil, fmt.Errorf("-info of %s: its answer is no RuntimeInfo: %w", filepath.Base(binary), errdefs.ErrUnavailable)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.infos) >= maxInfos {
		clear(l.infos)
	}
	l.infos[key] = info
	return proto.Clone(info).(*types.RuntimeInfo), nil
}
