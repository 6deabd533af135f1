// Package external knows what of a running container lies outside of it, so that CRIU can
// neither dump nor make it: bind mounts, files that came as stdin, stdout and stderr.
//
// What is mounted where is read from the kernel, never worked out from names: the image is
// the container's, and may lead a destination of config.json anywhere in the root, and
// elsewhere at the next look. The answer is kept beside CRIU's images, so that restore
// looks nothing up again (docs/decisions/0022).
package external

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Kind says where the source of an external mount is found.
type Kind string

// The kinds. The empty one is a mount that CRIU dumps and makes by itself.
const (
	Bind   Kind = "bind"   // a bind mount of config.json; Name is its destination there
	Cgroup Kind = "cgroup" // the container's cgroup; Name is the v1 hierarchy
	Device Kind = "device" // a device node of the host; Name is its path
	Null   Kind = "null"   // /dev/null, which masks a file
)

// Mount is a mount in the container.
type Mount struct {
	Point string `json:"point"` // where the kernel says that it is, seen from the container's root
	Kind  Kind   `json:"kind,omitempty"`
	Name  string `json:"name,omitempty"`
	// Below is the path under the source, for what came along with a recursive bind.
	Below string `json:"below,omitempty"`
}

// NullPath is the source of masks, and what runc calls them in its images.
const NullPath = "/dev/null"

// Key is what the mount is called in CRIU's images: as runc calls it, so that either can
// restore what the other has dumped.
func (m *Mount) Key() string {
	if m.Kind == Null {
		return NullPath
	}
	return m.Point
}

// wanted is an external mount that the plan of the container asks for.
type wanted struct {
	Mount         // Point is the destination, as config.json has it
	source string // on the host
	flags  plan.MountFlag
	// copyLink says that a source that is a symlink is made anew instead.
	copyLink bool
	// rec says that what is mounted below the source comes along; recFlags is for that.
	rec      bool
	recFlags plan.MountFlag
}

// wantedBy lists the external mounts of a plan, in order.
func wantedBy(p *plan.Plan) []wanted {
	var all []wanted
	for i := range p.Ops {
		switch a := p.Ops[i].Do.(type) {
		case *plan.BindMount:
			all = addBind(all, a)
		case *plan.CgroupMount:
			for j := range a.Cgroups {
				g := &a.Cgroups[j]
				all = append(all, wanted{
					Mount:  Mount{Point: a.Destination + "/" + g.Hierarchy, Kind: Cgroup, Name: g.Hierarchy},
					source: g.Dir(), flags: a.Flags.Set | a.Flags.RecSet,
				})
			}
		case *plan.MaskPath:
			all = append(all, wanted{Mount: Mount{Point: a.Path, Kind: Null}, source: NullPath})
		case *plan.MakeDevice:
			all = append(all, wanted{Mount: Mount{Point: a.Path, Kind: Device, Name: a.Path}, source: a.Path})
		}
	}
	return all
}

// linkCopied reports whether a symlink was made in place of the mount: it is part of the
// root file system, and what it leads to is no concern of this entry.
func (w *wanted) linkCopied() bool {
	var st unix.Stat_t
	return w.copyLink && unix.Lstat(w.source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

func addBind(all []wanted, a *plan.BindMount) []wanted {
	if !a.Remount {
		return append(all, wanted{
			Mount:  Mount{Point: a.Destination, Kind: Bind, Name: a.Destination},
			source: a.Source, flags: a.Flags.Set | a.Flags.RecSet, rec: a.Recursive, recFlags: a.Flags.RecSet,
			copyLink: a.CopySymlink,
		})
	}
	for i := range slices.Backward(all) {
		if all[i].Kind == Bind && all[i].Point == a.Destination {
			all[i].flags = all[i].flags&^a.Flags.Clear | a.Flags.Set
			break
		}
	}
	return all
}

// below returns the rest of a path under a directory.
func below(dir, path string) (string, bool) {
	if dir == "/" {
		return path, path != "/"
	}
	return strings.CutPrefix(path, dir+"/")
}
