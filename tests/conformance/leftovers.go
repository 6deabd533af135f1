package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// snapshot is what the machine held before a program ran.
type snapshot struct {
	cgroups []string
	mounts  []mountPoint
}

type mountPoint struct {
	id   string // of /proc/self/mountinfo: unique while the mount lives
	path string
}

func takeSnapshot() (*snapshot, error) {
	cgroups, err := listCgroups()
	if err != nil {
		return nil, err
	}
	mounts, err := listMounts()
	return &snapshot{cgroups: cgroups, mounts: mounts}, err
}

// clear removes the mounts and cgroups that appeared since the snapshot and belong to the job, and names them.
// Other programs make cgroups at the same time: only those count whose path has a container id that the job's runtime
// was called with, or one of the names that the validation programs use (cgroups/cgroups.go in runtime-tools).
func (s *snapshot) clear(j *job) ([]string, error) {
	left, err := s.clearMounts()
	if err != nil {
		return left, err
	}
	names, err := j.containerIDs()
	if err != nil {
		return left, err
	}
	names = append(names, "cgrouptest", "testdir")
	now, err := listCgroups()
	if err != nil {
		return left, err
	}
	slices.Reverse(now) // children before their parents
	for _, path := range now {
		parts := strings.Split(path, "/")
		ours := slices.ContainsFunc(names, func(name string) bool { return slices.Contains(parts, name) })
		if !ours || slices.Contains(s.cgroups, path) {
			continue
		}
		left = append(left, describe("cgroup "+path, removeCgroup(path)))
	}
	return left, nil
}

// clearMounts unmounts what was mounted since the snapshot. The mount namespace belongs to this run alone.
func (s *snapshot) clearMounts() ([]string, error) {
	now, err := listMounts()
	if err != nil {
		return nil, err
	}
	slices.Reverse(now) // later mounts lie on top of earlier ones
	var left []string
	for _, m := range now {
		if slices.ContainsFunc(s.mounts, func(old mountPoint) bool { return old.id == m.id }) {
			continue
		}
		left = append(left, describe("mount "+m.path, unix.Unmount(m.path, unix.UMOUNT_NOFOLLOW)))
	}
	return left, nil
}

func describe(what string, err error) string {
	if err != nil {
		return what + " (not removed: " + err.Error() + ")"
	}
	return what
}

// removeCgroup removes one empty cgroup. A process that has just been killed may keep it busy for a moment.
func removeCgroup(path string) error {
	for try := 0; ; try++ {
		err := unix.Rmdir(path)
		if !errors.Is(err, unix.EBUSY) || try == 50 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func listCgroups() ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(cgroupRoot, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody else's cgroup went away
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	return dirs, err
}

func listMounts() ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var mounts []mountPoint
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) > 4 {
			mounts = append(mounts, mountPoint{id: fields[0], path: unescape(fields[4])})
		}
	}
	return mounts, scanner.Err()
}

// unescape undoes the octal escapes of /proc/self/mountinfo (man 5 proc_pid_mountinfo).
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// containerIDs returns the ids in the log of runtime calls: every word as long as a UUID that is no path.
func (j *job) containerIDs() ([]string, error) {
	data, err := os.ReadFile(j.callLog())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	const uuidLength = 36
	var ids []string
	for word := range strings.FieldsSeq(string(data)) {
		if len(word) == uuidLength && !strings.Contains(word, "/") && !slices.Contains(ids, word) {
			ids = append(ids, word)
		}
	}
	return ids, err
}

// killDescendants kills every process that this subreaper has adopted, and names them. Killing one hands its
// children over, hence the rounds.
func killDescendants() []string {
	var left []string
	seen := map[int]bool{}
	for range 100 {
		pids := children()
		if len(pids) == 0 {
			return left
		}
		for _, pid := range pids {
			if !seen[pid] {
				seen[pid] = true
				if args := commandLine(pid); args != "" { // an ended process that is about to be reaped has none
					left = append(left, fmt.Sprintf("process %d %s", pid, args))
				}
			}
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return append(left, "process that can't be killed")
}

func children() []int {
	paths, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is valid
	var pids []int
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended; its children are listed under another one
		}
		for word := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func commandLine(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " "))
}
