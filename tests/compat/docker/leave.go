package docker

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// removeContainers removes what the scripts left: they keep their containers where a failure
// could need them. A script that failed may have left no daemon.
func (e *Engine) removeContainers() {
	if e.Docker("info") != nil {
		e.Dockerd.Stop()
		if err := e.Dockerd.Restart(); err != nil {
			e.t.Error(err)
			return
		}
	}
	cmd := exec.Command(e.file("bin/docker"), "--host", e.host(), "ps", "--all", "--quiet")
	list, err := cmd.Output()
	if err != nil {
		e.t.Error(err)
		return
	}
	for id := range strings.FieldsSeq(string(list)) {
		if err := e.Docker("rm", "--force", "--volumes", id); err != nil {
			e.t.Error(err)
		}
	}
}

// remove removes the folder, the two mounts that dockerd leaves in it, and the slice, which
// stays when its last scope has gone.
func (e *Engine) remove() {
	if e.setup.Systemd {
		if out, err := exec.Command("systemctl", "stop", e.slice()).CombinedOutput(); err != nil {
			e.t.Errorf("stop %s: %v\n%s", e.slice(), err, out)
		}
	}
	for _, name := range []string{"data", "exec/netns/default"} {
		if err := unix.Unmount(e.file(name), 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			e.t.Error(err)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		e.t.Error(err)
	}
}

// shimSockets is where every containerd has the sockets of its shims, whatever its folders.
const shimSockets = "/run/containerd/s"

// removeNewSockets returns what removes the dead sockets that come from now on: a shim that is
// killed, or whose containerd is, leaves its own. Those that live are another test's.
func removeNewSockets() func() {
	before := map[string]bool{}
	list, _ := os.ReadDir(shimSockets) // it may not be there yet
	for _, s := range list {
		before[s.Name()] = true
	}
	return func() {
		list, _ := os.ReadDir(shimSockets)
		for _, s := range list {
			path := filepath.Join(shimSockets, s.Name())
			conn, err := net.Dial("unix", path)
			if err == nil {
				conn.Close()
			}
			if errors.Is(err, unix.ECONNREFUSED) && !before[s.Name()] {
				_ = os.Remove(path) // a shim may be faster
			}
		}
	}
}
