package launch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Handler is a program of the host that runs in the container in place of a file of its
// own, for a kind of program that the kernel can't execute. The container sees a sealed copy:
// its /proc/self/exe leads to no file of the host (CVE-2019-5736).
type Handler struct{ copied int }

// CopyHandler copies the program at path. What it will do inside containers depends on that
// file, so nobody may be able to write it but who could write the runtime's own.
func CopyHandler(path string) (*Handler, error) {
	file, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(file)
	if err := checkHandler(file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	copied, err := executableMemfd("gantry-handler")
	if err != nil {
		return nil, fmt.Errorf("make an executable memfd: %w", err)
	}
	h := &Handler{copied}
	if err = copyAll(copied, file); err == nil {
		err = sealBinary(copied)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func checkHandler(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("not a regular file")
	case !trustedOwner(st.Uid):
		return fmt.Errorf("owned by user %d: %w", st.Uid, unix.EPERM)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("mode %#o lets others write it: %w", st.Mode&0o7777, unix.EPERM)
	}
	return nil
}

// trustedOwner takes root, the runtime's user and whoever owns the runtime's binary: in a user
// namespace without the host's root both files belong to nobody (rootless podman).
func trustedOwner(uid uint32) bool {
	if uid == 0 || int(uid) == unix.Geteuid() {
		return true
	}
	var own unix.Stat_t
	return unix.Stat("/proc/self/exe", &own) == nil && own.Uid == uid
}

// Close lets go of the copy; the process that executed it keeps it. It may be called on nil.
func (h *Handler) Close() {
	if h != nil {
		unix.Close(h.copied)
	}
}

// fd is the copy's descriptor. It closes on execve(2).
func (h *Handler) fd() int {
	if h == nil {
		return -1
	}
	return h.copied
}
