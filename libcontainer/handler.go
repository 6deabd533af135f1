package libcontainer

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// openHandler readies what executes the program of a plan in the kernel's place; nil where
// the kernel does.
func openHandler(p *plan.Plan) (*launch.Handler, error) {
	op := &p.Ops[len(p.Ops)-1]
	execute, ok := op.Do.(*plan.Execute)
	if !ok || execute.Handler == "" {
		return nil, nil //nolint:nilnil // the kernel executes it
	}
	name := "runc-" + execute.Handler
	dirs := handlerDirs()
	for _, dir := range dirs {
		h, err := launch.CopyHandler(path.Join(dir, name))
		if err == nil || !errors.Is(err, unix.ENOENT) {
			return h, fault.LaunchFailed.At(op.Field, err)
		}
	}
	return nil, fault.Unsupported.Atf(op.Field, "%s is in none of %v: %w", name, dirs, unix.ENOENT)
}

// handlerDirs are the places of handlers: beside this program, and where `make install`
// puts them.
func handlerDirs() []string {
	dirs := make([]string, 0, 4)
	var exe [unix.PathMax]byte
	if n, err := unix.Readlink("/proc/self/exe", exe[:]); err == nil {
		dir := path.Dir(string(exe[:n]))
		dirs = append(dirs, dir, path.Join(dir, "../libexec/gantry"))
	}
	return append(dirs, "/usr/local/libexec/gantry", "/usr/libexec/gantry")
}
