package launch

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Commands of fsconfig(2), include/uapi/linux/mount.h.
const (
	fsconfigSetFlag   = 0
	fsconfigSetString = 1
	fsconfigCreate    = 6
	fsCloexec         = 1 // FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC
)

// makeFilesystem leaves a detached mount in w.tree and the directory for it in w.cur, until
// attachFilesystem.
func (w *lowering) makeFilesystem(a *plan.MakeFilesystem) {
	mode := slot(0)
	switch {
	case a.NoSymlinks || a.Type == "proc" || a.Type == "sysfs": // see mount
		w.targetDir(a.Destination, noSymlinks)
	case a.Type == "tmpfs" && !hasMode(a.Data):
		mode = w.targetDirMode(a.Destination, "", "1777", "")
	default:
		w.targetDir(a.Destination, inRoot)
	}
	w.call(unix.SYS_FSOPEN, a.Type, fsCloexec).to(w.tmp)
	w.call(unix.SYS_FSCONFIG, w.tmp, fsconfigSetString, "source", a.Source, 0)
	for _, option := range superOptions(a) {
		if key, value, ok := strings.Cut(option, "="); ok {
			w.call(unix.SYS_FSCONFIG, w.tmp, fsconfigSetString, key, value, 0)
		} else {
			w.call(unix.SYS_FSCONFIG, w.tmp, fsconfigSetFlag, key, 0, 0)
		}
	}
	if mode != 0 {
		w.call(unix.SYS_FSCONFIG, w.tmp, fsconfigSetString, "mode", mode, 0)
	}
	w.call(unix.SYS_FSCONFIG, w.tmp, fsconfigCreate, 0, 0, 0)
	w.call(unix.SYS_FSMOUNT, w.tmp, fsCloexec, 0).to(w.tree)
	w.close(w.tmp)
	if a.Copied {
		w.handOver(w.cur)
		w.handOver(w.tree)
		w.handedOver()
	}
}

// superOptions are what the file system itself is told. A piece that begins with a digit
// belongs to the value before it, as in mpol=bind:0,2, tmpfs(5).
func superOptions(a *plan.MakeFilesystem) []string {
	var list []string
	for _, flag := range [...]struct {
		flag plan.MountFlag
		name string
	}{
		{plan.FSSync, "sync"},
		{plan.FSDirSync, "dirsync"},
		{plan.FSMandatoryLock, "mand"},
		{plan.FSLazyTime, "lazytime"},
	} {
		if a.Flags.Set&flag.flag != 0 {
			list = append(list, flag.name)
		}
	}
	for _, s := range splitData(a.Data) {
		switch {
		case s == "":
		case len(list) > 0 && s[0] >= '0' && s[0] <= '9':
			list[len(list)-1] += "," + s
		default:
			list = append(list, s)
		}
	}
	return list
}

// splitData splits options at commas, but for those in quotes, which SELinux' labels have;
// fsconfig(2) takes the values without the quotes.
func splitData(data string) []string {
	var list []string
	var b strings.Builder
	quoted := false
	for _, c := range []byte(data) {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			list = append(list, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(list, b.String())
}

// attachFilesystem gives the detached mount its attributes, now that it is full, and puts
// it in its place.
func (w *lowering) attachFilesystem(a *plan.AttachFilesystem) {
	w.attach(&a.Flags)
	w.close(w.cur)
	w.close(w.tree)
}

// openNetlink hands over a socket that stays in the namespace where it was made.
func (w *lowering) openNetlink() {
	w.call(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE).to(w.cur)
	w.handOver(w.cur)
	w.handedOver()
	w.close(w.cur)
}
