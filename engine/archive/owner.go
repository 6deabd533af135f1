package archive

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// maxAccounts is how much of a container's passwd and group files is read, in bytes.
const maxAccounts = 4 << 20

// owner finds the ids of "user", "user:group", names or numbers, in the files of the view that it works in. Names must
// be there; a number that is not has group 0.
func owner(spec string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(spec, ":")
	if name != "" {
		if uid, gid, err = findUser(name); err != nil {
			return 0, 0, err
		}
	}
	if group != "" {
		if gid, err = findGroup(group); err != nil {
			return 0, 0, err
		}
	}
	return uid, gid, nil
}

func findUser(name string) (uid, gid int, err error) {
	id, numeric := number(name)
	users, err := entries("/etc/passwd", user.ParsePasswdFilter, func(u user.User) bool {
		return numeric && u.Uid == id || !numeric && u.Name == name
	})
	switch {
	case len(users) > 0:
		return users[0].Uid, users[0].Gid, nil
	case numeric:
		return id, 0, nil
	case err == nil:
		err = user.ErrNoPasswdEntries
	}
	return 0, 0, fmt.Errorf("failed to look up user %q in container: %w", name, err)
}

func findGroup(name string) (int, error) {
	if id, numeric := number(name); numeric {
		return id, nil
	}
	groups, err := entries("/etc/group", user.ParseGroupFilter, func(g user.Group) bool { return g.Name == name })
	if len(groups) > 0 {
		return groups[0].Gid, nil
	}
	if err == nil {
		err = user.ErrNoGroupEntries
	}
	return 0, fmt.Errorf("failed to look up group %q in container: %w", name, err)
}

func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n <= math.MaxInt32 //nolint:gosec // The second result says so.
}

// entries reads the lines of a file that pass a filter.
func entries[T any](name string, parse func(io.Reader, func(T) bool) ([]T, error), pass func(T) bool) ([]T, error) {
	// A FIFO of that name must not hold us.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, err
	}
	return parse(bytes.NewReader(b), pass)
}
