package external

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/inroot"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Resolve works out the external mounts for images that another runtime made and that come
// without ours: where the destinations of config.json lead in the root of today. Two that
// lead to one place are refused, and Verify has the last word on what came of the rest.
func Resolve(rootfs string, p *plan.Plan) ([]Mount, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fault.Atf("root.path", "open %s: %w", rootfs, err)
	}
	defer unix.Close(root)
	taken := map[string]string{}
	var mounts []Mount
	all := wantedBy(p)
	for i := range all {
		m := all[i].Mount
		if m.Kind != Bind && m.Kind != Cgroup {
			continue // whether they are mounts only the images know
		}
		if m.Point, err = resolve(root, m.Point); err != nil {
			return nil, err
		}
		if other, ok := taken[m.Point]; ok {
			return nil, fmt.Errorf("mounts on %s and %s lead to the same place: %s", other, m.Name, m.Point)
		}
		taken[m.Point] = m.Name
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// resolve follows the links of a path in the root. A path that does not exist there, as one
// on another mount, is what it says.
func resolve(root int, p string) (string, error) {
	fd, err := inroot.Open(root, inroot.Path(p), unix.O_PATH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return path.Clean(p), nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var links [2]string
	for i, fd := range [...]int{root, fd} {
		if links[i], err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil {
			return "", err
		}
	}
	return "/" + strings.TrimPrefix(strings.TrimPrefix(links[1], links[0]), "/"), nil
}
