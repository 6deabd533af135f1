package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/gantry-containers/gantry/engine/rootfs"
)

// owner is who files belong to, by numbers.
type owner struct{ uid, gid int }

// maxAccounts is how much of a tree's passwd and group files is read, in bytes.
const maxAccounts = 4 << 20

// ownerIn finds "user", "user:group", names or numbers, in the files of a tree. A user alone is the group's name, too.
func ownerIn(t *rootfs.Tree, spec string) (*owner, error) {
	name, group, two := strings.Cut(spec, ":")
	if strings.Contains(group, ":") {
		return nil, errors.New("invalid chown string format: " + spec)
	}
	if !two {
		group = name
	}
	uid, err := lookup(t, "/etc/passwd", name, func(in io.Reader) (int, error) {
		list, err := user.ParsePasswdFilter(in, func(u user.User) bool { return u.Name == name })
		if err == nil && len(list) == 0 {
			err = errors.New("no such user: " + name)
		}
		if err != nil {
			return 0, err
		}
		return list[0].Uid, nil
	})
	if err != nil {
		return nil, fmt.Errorf("can't find uid for user %s: %w", name, err)
	}
	gid, err := lookup(t, "/etc/group", group, func(in io.Reader) (int, error) {
		list, err := user.ParseGroupFilter(in, func(g user.Group) bool { return g.Name == group })
		if err == nil && len(list) == 0 {
			err = errors.New("no such group: " + group)
		}
		if err != nil {
			return 0, err
		}
		return list[0].Gid, nil
	})
	if err != nil {
		return nil, fmt.Errorf("can't find gid for group %s: %w", group, err)
	}
	return &owner{uid, gid}, nil
}

// lookup is a number as it is; a name is looked for in a file.
func lookup(t *rootfs.Tree, file, name string, find func(io.Reader) (int, error)) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	b, err := t.ReadFile(file, maxAccounts)
	if err != nil {
		return 0, err
	}
	return find(bytes.NewReader(b))
}
