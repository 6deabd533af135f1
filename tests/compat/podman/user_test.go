package podman_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The user of the rootless scripts; /etc is this process's own (compat.Private).
const (
	userName = "gantry"
	userID   = 7700
)

// addUser adds the user, a second group of theirs, and ranges of ids for them and for
// --userns=auto.
func addUser(t *testing.T) {
	t.Helper()
	for file, lines := range map[string]string{
		"/etc/passwd": userName + ":x:7700:7700::/nonexistent:/bin/sh\n",
		"/etc/group":  userName + ":x:7700:\ngantry-too:x:7701:" + userName + "\n",
		"/etc/subuid": userName + ":7800000:65536\n",
		"/etc/subgid": userName + ":7800000:65536\n",
	} {
		before, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(before, lines...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// managedUser is a user of the machine who has a service manager.
func managedUser(t *testing.T) int {
	t.Helper()
	sockets, _ := filepath.Glob("/run/user/*/systemd/private")
	for _, s := range sockets {
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(s))))
		if err == nil && id != 0 {
			return id
		}
	}
	t.Skip("no user has a service manager: no /run/user/*/systemd/private")
	return 0
}

// openTun lets everybody open /dev/net/tun, as udev does: slirp4netns needs it.
func openTun(t *testing.T) {
	t.Helper()
	const device = "/dev/net/tun"
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return // the network's script will say so
	}
	open := filepath.Join(publicDir(t), "tun")
	if err := unix.Mknod(open, unix.S_IFCHR|0o666, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(open, device, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(device, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
