package libcontainer

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// parseUser reads --user UID[:GID]. Only plain decimal numbers are ids, so that nothing
// is ever read as another user than it says, least of all as root (CVE-2026-30892);
// names are not looked up (CVE-2016-3697). hasGID is false when there is no group.
func parseUser(s string) (uid, gid uint32, hasGID bool, err error) {
	user, group, hasGID := strings.Cut(s, ":")
	if uid, err = parseID(user); err == nil && hasGID {
		gid, err = parseID(group)
	}
	if err != nil {
		return 0, 0, false, fault.Usage.Of("--user", fmt.Errorf("--user %q: want UID[:GID]: %w", s, err))
	}
	return uid, gid, hasGID, nil
}

// parseID accepts what prints as it was written. The highest value is no id: the kernel
// reads it as "leave it", setresuid(2).
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == math.MaxUint32 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, uint32(math.MaxUint32-1))
	}
	return uint32(n), nil
}
