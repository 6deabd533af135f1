package idmap

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
)

// Files are where users, groups and their ranges are written.
type Files struct{ Passwd, Group, SubUID, SubGID string }

// Machine has them in the usual places.
func Machine() Files {
	return Files{"/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"}
}

const (
	// standard is what --userns-remap says for the user of every machine, dedicated.
	standard  = "default"
	dedicated = "dockremap"
)

// Remap is the ranges that "default", "user", "user:group", "uid" or "uid:gid" stands for. Root stands for none.
func (f Files) Remap(spec string) (user.IdentityMapping, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	if name == "" || strings.Contains(group, ":") || hasGroup && group == "" {
		return user.IdentityMapping{}, fmt.Errorf("Invalid user/group specification in --userns-remap: %q", spec) //nolint:staticcheck // moby's words.
	}
	if name == standard {
		name = dedicated
	}
	u, err := f.user(name)
	if err != nil {
		return user.IdentityMapping{}, err
	}
	if !hasGroup {
		if group = name; name != u.Name {
			group = strconv.Itoa(u.Uid)
		}
	}
	if err := f.group(group); err != nil {
		return user.IdentityMapping{}, err
	}
	if u.Uid == 0 {
		return user.IdentityMapping{}, nil
	}
	return f.ranges(u.Name, strconv.Itoa(u.Uid))
}

func (f Files) user(name string) (user.User, error) {
	n, err := strconv.ParseUint(name, 10, 31)
	numeric := err == nil
	list, err := user.ParsePasswdFileFilter(f.Passwd, func(u user.User) bool {
		return numeric && u.Uid == int(n) || !numeric && u.Name == name
	})
	if err == nil && len(list) == 0 {
		err = user.ErrNoPasswdEntries
	}
	switch {
	case err == nil:
		return list[0], nil
	case numeric:
		return user.User{}, fmt.Errorf("Uid %s has no entry in %s: %w", name, f.Passwd, err) //nolint:staticcheck // moby's words.
	case name == dedicated:
		return user.User{}, fmt.Errorf("Error during %q user creation: %w: make it with useradd, and give it ranges in %s and %s", //nolint:staticcheck // moby's words.
			name, err, f.SubUID, f.SubGID)
	}
	return user.User{}, fmt.Errorf("Error during uid lookup for %q: %w", name, err) //nolint:staticcheck // moby's words.
}

func (f Files) group(name string) error {
	n, err := strconv.ParseUint(name, 10, 31)
	numeric := err == nil
	list, err := user.ParseGroupFileFilter(f.Group, func(g user.Group) bool {
		return numeric && g.Gid == int(n) || !numeric && g.Name == name
	})
	if err == nil && len(list) == 0 {
		err = user.ErrNoGroupEntries
	}
	switch {
	case err == nil:
		return nil
	case numeric:
		return fmt.Errorf("Gid %s has no entry in %s: %w", name, f.Group, err) //nolint:staticcheck // moby's words.
	}
	return fmt.Errorf("Error during gid lookup for %q: %w", name, err) //nolint:staticcheck // moby's words.
}

// ranges are those of a user, put together as one range of the container's.
func (f Files) ranges(names ...string) (m user.IdentityMapping, err error) {
	for path, to := range map[string]*[]user.IDMap{f.SubUID: &m.UIDMaps, f.SubGID: &m.GIDMaps} {
		list, err := subIDs(path, names)
		if err != nil {
			return m, fmt.Errorf("error creating ID mappings: %w", err)
		}
		inside := int64(0)
		for _, s := range list {
			*to = append(*to, user.IDMap{ID: inside, ParentID: s.SubID, Count: s.Count})
			inside += s.Count
		}
	}
	return m, nil
}

func subIDs(path string, names []string) ([]user.SubID, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	list, err := user.ParseSubIDFileFilter(path, func(s user.SubID) bool {
		return slices.Contains(names, s.Name) && s.Count > 0 && s.SubID > 0 && s.SubID+s.Count <= keeper
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("no ranges found for user %q in %s", names[0], path)
	}
	return list, err
}
