package host

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupMount is a line of /proc/self/mountinfo whose file system is a cgroup one,
// proc_pid_mountinfo(5).
type cgroupMount struct {
	id      string // of the mount, decimal
	root    string // the cgroup at the mount point
	point   string
	unified bool
	options string // of the superblock: the hierarchy's controllers and name among them
}

// parseCgroupMounts picks the cgroup mounts out of a mount table.
func parseCgroupMounts(text string) []cgroupMount {
	var all []cgroupMount
	for line := range strings.SplitSeq(text, "\n") {
		// Optional fields before the separator vary in number.
		before, after, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		fstype, after, _ := strings.Cut(after, " ")
		if fstype != "cgroup" && fstype != "cgroup2" {
			continue
		}
		fields := strings.SplitN(before, " ", 6)
		_, options, _ := strings.Cut(after, " ")
		if len(fields) < 5 {
			continue
		}
		all = append(all, cgroupMount{fields[0], unescape(fields[3]), unescape(fields[4]), fstype == "cgroup2", options})
	}
	return all
}

// visible reports whether the mount is what one finds at its mount point: another mount
// may cover it. statx(2) tells the mount's id since Linux 5.8.
func (c *cgroupMount) visible() bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, c.point, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	return err == nil && strconv.FormatUint(st.Mnt_id, 10) == c.id
}

// shows reports whether the mount is of the hierarchy that /proc/self/cgroup calls
// names. Two files may list co-mounted controllers in different order.
func (c *cgroupMount) shows(names string) bool {
	if names == "" || c.unified {
		return names == "" && c.unified
	}
	for name := range strings.SplitSeq(names, ",") {
		if !hasWord(c.options, name) {
			return false
		}
	}
	return true
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// relative makes path relative to root; both are paths in the reader's cgroup namespace,
// where what lies outside begins with "/..". It is false, with the path "/", when path is
// not below root or can't be named from there.
func relative(root, path string) (string, bool) {
	if root == "/" {
		root = ""
	}
	rest, ok := strings.CutPrefix(path, root)
	switch {
	case !ok:
	case rest == "":
		return "/", true
	case rest == "/..", strings.HasPrefix(rest, "/../"):
	case rest[0] == '/':
		return rest, true
	}
	return "/", false
}

// unescape undoes the octal escapes of the mount table: \040 is a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func isOctal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '7' {
			return false
		}
	}
	return true
}

// Mount is a line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent string // decimal
	Root       string // what of the file system is mounted
	Point      string // where it is mounted
	Options    string // of the mount, joined by commas
	Type       string // of its file system
}

// Mounts lists what is mounted in this mount namespace, in the order of mounting.
func Mounts() ([]Mount, error) { return mountsIn("/proc/self/mountinfo") }

// MountsOf lists what is mounted in the mount namespace of a process, seen from its root.
func MountsOf(pid int) ([]Mount, error) {
	return mountsIn("/proc/" + strconv.Itoa(pid) + "/mountinfo")
}

func mountsIn(table string) ([]Mount, error) {
	text, err := readFile(table)
	if err != nil {
		return nil, err
	}
	var all []Mount
	for line := range strings.SplitSeq(string(text), "\n") {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.SplitN(before, " ", 7)
		if kind, _, _ := strings.Cut(after, " "); ok && len(f) >= 6 {
			all = append(all, Mount{
				ID: f[0], Parent: f[1], Root: unescape(f[3]), Point: unescape(f[4]), Options: f[5], Type: kind,
			})
		}
	}
	return all, nil
}
