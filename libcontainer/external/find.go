package external

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/inroot"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// table is the mounts of a container at one moment.
type table struct {
	root   int // its root directory
	mounts []host.Mount
	known  map[string]*Mount // by mount id
}

// Find lists the mounts of a container but its root: those that its plan explains by
// something outside, and the rest, which are CRIU's business. CRIU tells mounts apart by
// their mount points, so an external one that shares its point with another is refused.
func Find(pid int, p *plan.Plan) ([]Mount, error) {
	root, err := openRoot(pid)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	t := &table{root: root, known: map[string]*Mount{}}
	if t.mounts, err = host.MountsOf(pid); err != nil {
		return nil, err
	}
	all := wantedBy(p)
	for i := range all {
		t.explain(&all[i])
	}
	return t.list()
}

func openRoot(pid int) (int, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/root"
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// explain finds the mount that was wanted at a destination. One that is gone, because the
// container unmounted it, is nothing to restore either.
func (t *table) explain(w *wanted) {
	if w.linkCopied() {
		return
	}
	fd, err := inroot.Open(t.root, inroot.Path(w.Point), unix.O_PATH)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID|unix.STATX_TYPE, &st)
	if err != nil || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return
	}
	kind := st.Mode & unix.S_IFMT
	isDevice := kind == unix.S_IFCHR || kind == unix.S_IFBLK
	if w.Kind == Device && !isDevice || w.Kind == Null && (!isDevice || st.Rdev_major != 1 || st.Rdev_minor != 3) {
		return
	}
	m := t.byID(strconv.FormatUint(st.Mnt_id, 10))
	if m == nil {
		return
	}
	found := w.Mount
	found.Point = m.Point
	t.known[m.ID] = &found
	if w.rec {
		t.explainBelow(m, w)
	}
}

// explainBelow finds what came along with a recursive bind: the same file as at the same
// place below the source.
func (t *table) explainBelow(top *host.Mount, w *wanted) {
	inside := map[string]bool{top.ID: true}
	for i := range t.mounts {
		m := &t.mounts[i]
		rest, under := below(top.Point, m.Point)
		if !inside[m.Parent] || !under || t.known[m.ID] != nil {
			continue
		}
		fd, err := inroot.Open(t.root, inroot.Path(m.Point), unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			continue
		}
		came := &Source{Mount: Mount{Point: m.Point, Kind: w.Kind, Name: w.Name, Below: rest}, top: w.source}
		if same, err := came.shownBy(fd); err == nil && same {
			inside[m.ID] = true
			t.known[m.ID] = &came.Mount
		}
		_ = unix.Close(fd)
	}
}

func (t *table) byID(id string) *host.Mount {
	for i := range t.mounts {
		if t.mounts[i].ID == id {
			return &t.mounts[i]
		}
	}
	return nil
}

// list is the answer of Find.
func (t *table) list() ([]Mount, error) {
	at := map[string]int{}
	for i := range t.mounts {
		at[t.mounts[i].Point]++
	}
	var all []Mount
	for i := range t.mounts {
		m := &t.mounts[i]
		if m.Point == "/" {
			continue
		}
		if slices.Contains(strings.Split(m.Options, ","), "idmapped") {
			return nil, fmt.Errorf("%s: CRIU can't restore an id-mapped mount", m.Point)
		}
		known := t.known[m.ID]
		if known == nil {
			all = append(all, Mount{Point: m.Point})
			continue
		}
		if at[m.Point] > 1 {
			return nil, fmt.Errorf("%s: something is mounted over what came from outside, and CRIU could take one for the other", m.Point)
		}
		if strings.Contains(m.Point, ":") { // CRIU's mnt[KEY]:VALUE
			return nil, fmt.Errorf("%s: CRIU can't name a mount point with a colon", m.Point)
		}
		all = append(all, *known)
	}
	return all, nil
}
