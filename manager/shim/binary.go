package shim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// ownRuntime is the runtime whose shim is made with this program, and looked for beside it first: one in PATH may be
// of another release.
const (
	ownRuntime = "io.containerd.gantry.v2"
	ownBinary  = "containerd-shim-gantry-v2"
)

// generation is how a shim wants to be told what to do by the start action.
type generation int

const (
	unknown    generation = iota
	parameters            // BootstrapParams on stdin: containerd 2.3 and later
	options               // the runtime's options in an Any, or nothing: before
)

// binaries is what is known of shims' binaries. Its methods may be called at the same time.
type binaries struct {
	meant       map[string]string // by a runtime's name, the one that is started in its place
	mu          sync.Mutex
	paths       map[string]string // by name of the runtime
	generations map[string]generationOf
	refusing    map[string]identity // that know no action serve
}

// generationOf holds for a binary as long as it is the same file.
type generationOf struct {
	file identity
	generation
}

// identity tells a file from that which replaces it.
type identity struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{st.Dev, st.Ino, st.Size, st.Mtim}, nil
}

// resolve finds the binary of a runtime, an absolute path. What the configuration says of a name is said of the names
// that clients send, not of those that it sends them to.
func (b *binaries) resolve(runtime string) (string, error) {
	if meant, ok := b.meant[runtime]; ok {
		runtime = meant
	}
	if filepath.IsAbs(runtime) {
		if !executable(runtime) {
			return "", fmt.Errorf("runtime %q: there is no such program: %w", runtime, errdefs.ErrNotFound)
		}
		return runtime, nil
	}
	name, err := binaryName(runtime)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if path, ok := b.paths[runtime]; ok && executable(path) {
		return path, nil
	}
	path, err := search(runtime, name)
	if err != nil {
		return "", err
	}
	b.paths[runtime] = path
	return path, nil
}

// binaryName makes containerd-shim-runc-v2 of io.containerd.runc.v2.
func binaryName(runtime string) (string, error) {
	parts := strings.Split(runtime, ".")
	n := len(parts)
	if n < 2 || parts[0] == "" || parts[n-2] == "" || parts[n-1] == "" || strings.ContainsAny(runtime, "/\x00") {
		return "", fmt.Errorf("runtime %q: want a name such as io.containerd.runc.v2, or an absolute path: %w",
			runtime, errdefs.ErrInvalidArgument)
	}
	return "containerd-shim-" + parts[n-2] + "-" + parts[n-1], nil
}

func search(runtime, name string) (string, error) {
	beside, err := beside(name)
	if err != nil {
		return "", err
	}
	if runtime == ownRuntime && executable(beside) {
		return beside, nil
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	if executable(beside) {
		return beside, nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("runtime %q: there is no %s in PATH nor beside this program: %w", runtime, name, errdefs.ErrNotFound)
	}
	return "", fmt.Errorf("runtime %q: %w", runtime, err)
}

// beside is a path in the directory of this program.
func beside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// candidates are the generations to try for a binary, the likelier first.
func (b *binaries) candidates(path string) []generation {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.generations[path]
	if file, err := identify(path); err == nil && known.generation != unknown && file == known.file {
		return []generation{known.generation}
	}
	return []generation{parameters, options}
}

// remember notes the generation of a binary, which must be the file that was run.
func (b *binaries) remember(path string, file identity, g generation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.generations[path] = generationOf{file, g}
}

// refuses tells whether a binary has not understood the action serve.
func (b *binaries) refuses(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, ok := b.refusing[path]
	if !ok {
		return false
	}
	file, err := identify(path)
	return err == nil && file == known
}

// refused notes that.
func (b *binaries) refused(path string, file identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusing[path] = file
}
