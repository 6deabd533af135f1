package mount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
)

// fuseHelper is the program that mounts this type, and the name of the file system for it: fuse3.NAME is
// mount.fuse3's, fuse.NAME is mount.fuse's. Other types have none.
func fuseHelper(fstype string) (helper, name string) {
	if name, ok := strings.CutPrefix(fstype, "fuse3."); ok {
		return "mount.fuse3", name
	}
	if name, ok := strings.CutPrefix(fstype, "fuse."); ok {
		return "mount.fuse", name
	}
	return "", ""
}

// mountFuse runs a helper (mount.fuse(8)), which returns when the file system is mounted. Whoever waits for all of
// the shim's children can be faster than this wait (ECHILD): then a new mount is the answer.
func mountFuse(helper, name string, m *types.Mount, at place) error {
	before, err := at.mountID()
	if err != nil {
		return err
	}
	var target string
	err = at.with(func(fd string) (err error) {
		target, err = os.Readlink(fd)
		return err
	})
	if err != nil {
		return err
	}
	args := []string{m.GetSource(), target}
	for _, o := range m.GetOptions() {
		args = append(args, "-o", o)
	}
	cmd := exec.Command(helper, append(args, "-t", name)...)
	said, err := cmd.CombinedOutput()
	after, idErr := at.mountID()
	changed := idErr != nil || after != before
	switch {
	case err == nil, errors.Is(err, unix.ECHILD) && changed:
		return nil
	case changed:
		at.pop()
	}
	return fmt.Errorf("%s: %w: %s", helper, err, bytes.TrimSpace(said))
}

// mountID tells the topmost mount from what is there before and after (statx(2), Linux 5.8).
func (p place) mountID() (id uint64, err error) {
	fd, err := p.open()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	return st.Mnt_id, nil
}
