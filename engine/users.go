package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/idmap"
)

// remap reads whose ids containers have. An engine that remaps has folders of its own for each root, as moby has: images
// and containers of others are not seen.
func (e *Engine) remap(c *config.Config) (err error) {
	files := idmap.Machine()
	e.users.Each = c.UsernsEach
	if c.UsernsPool != "" {
		pool, err := files.Pool(c.UsernsPool)
		if err != nil {
			return err
		}
		e.users.Pool = &pool
	}
	if c.UsernsRemap == "" {
		return nil
	}
	if e.users.All, err = files.Remap(c.UsernsRemap); err != nil {
		return err
	}
	own := *c
	if e.users.All.Empty() {
		slog.Warn("user namespaces: root cannot be remapped to itself: they are off")
		own.UsernsRemap = ""
	} else {
		uid, gid := e.users.All.RootPair()
		name := fmt.Sprintf("%d.%d", uid, gid)
		// The folder above must let the containers' root pass.
		if err := errors.Join(os.MkdirAll(c.Root, 0o710), os.MkdirAll(c.ExecRoot, 0o711), os.Chown(c.Root, -1, gid)); err != nil {
			return err
		}
		own.Root, own.ExecRoot, own.Namespace = filepath.Join(c.Root, name), filepath.Join(c.ExecRoot, name), c.Namespace+"-"+name
	}
	e.config.Store(&own)
	return nil
}
