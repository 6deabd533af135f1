package spec

import (
	"bytes"
	"io"
	"slices"

	"github.com/moby/sys/user"
)

// Lookup finds who runs: spec is "user", "uid", "user:group" …, empty for root; groups are further ones, by name or
// number. The files are the container's /etc/passwd and /etc/group; nil when it has none. A number is never taken for a
// name.
func Lookup(spec string, groups []string, passwd, group []byte) (User, error) {
	found, err := user.GetExecUser(spec, nil, reader(passwd), reader(group))
	if err != nil {
		return User{}, err
	}
	more := found.Sgids
	if len(groups) > 0 {
		added, err := user.GetAdditionalGroups(groups, reader(group))
		if err != nil {
			return User{}, err
		}
		slices.Sort(added)
		more = append(more, added...)
	}
	u := User{UID: uint32(found.Uid), GID: uint32(found.Gid), Home: found.Home} // the library allows 0 to 2^31-1
	for _, g := range more {
		u.Additional = append(u.Additional, uint32(g)) // as above
	}
	return u, nil
}

// reader is nil for a missing file, which is not the same as an empty one.
func reader(b []byte) io.Reader {
	if b == nil {
		return nil
	}
	return bytes.NewReader(b)
}
