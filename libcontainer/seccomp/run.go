package seccomp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// compilerName is the compiler's file name where it isn't embedded.
const compilerName = "gantry-seccomp-compiler"

// profileStatus is the compiler's exit status for a fault in the profile.
const profileStatus = 1

// compilerID names the compiler and the architecture, so that an entry made
// by another build is a miss. "" when there is no compiler.
func compilerID() string {
	if image != "" {
		return imageID + "/" + runtime.GOARCH
	}
	path, err := findCompiler()
	if err != nil {
		return ""
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	return path + "/" + strconv.FormatInt(st.Size, 36) + "/" +
		strconv.FormatInt(st.Mtim.Nano(), 36) + "/" + runtime.GOARCH
}

// findCompiler looks for the compiler beside this program, then in PATH.
func findCompiler() (string, error) {
	var dirs []string
	if self, err := os.Readlink("/proc/self/exe"); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	for _, dir := range append(dirs, filepath.SplitList(os.Getenv("PATH"))...) {
		path := filepath.Join(dir, compilerName)
		if !filepath.IsAbs(path) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("this build has none inside, and %s is neither beside it nor in PATH: %w", compilerName, unix.ENOENT)
}

// runCompiler runs the compiler with stdin and returns its standard output.
// tempDir is tried first where the embedded compiler can't run from memory.
func runCompiler(stdin []byte, tempDir string, args ...string) ([]byte, error) {
	var out []byte
	var path string
	var err error
	if image != "" {
		out, err = runImage(image, stdin, tempDir, args...)
	} else if path, err = findCompiler(); err == nil {
		out, err = runPath(path, stdin, args...)
	}
	if err != nil && !errors.As(err, new(*ProfileError)) {
		err = fault.LaunchFailed.Atf("linux.seccomp", "seccomp compiler: %w", err)
	}
	return out, err
}

// runImage runs a program that is held in memory: from a memfd, or, where the
// machine forbids that (vm.memfd_noexec, an LSM), from a file in tempDir or
// the system's folder for such files, which is gone when it returns.
func runImage(image string, stdin []byte, tempDir string, args ...string) ([]byte, error) {
	out, fault := runMemory(image, stdin, args...)
	for _, dir := range []string{tempDir, os.TempDir()} {
		if dir == "" || !errors.As(fault, new(*startError)) {
			continue
		}
		second, err := runTemp(dir, image, stdin, args...)
		if errors.As(err, new(*startError)) {
			err = &startError{fmt.Errorf("%w; %w", fault, err)}
		}
		out, fault = second, err
	}
	return out, fault
}

func runMemory(image string, stdin []byte, args ...string) ([]byte, error) {
	file, err := memfd("gantry-seccomp-compiler", unix.MFD_EXEC)
	if err != nil {
		return nil, &startError{fmt.Errorf("memfd_create: %w", err)}
	}
	defer file.Close()
	if _, err := io.WriteString(file, image); err != nil {
		return nil, &startError{err}
	}
	return runPath("/proc/self/fd/"+strconv.Itoa(int(file.Fd())), stdin, args...)
}

// startError tells that a program did not start at all.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func runTemp(dir, image string, stdin []byte, args ...string) ([]byte, error) {
	file, err := os.CreateTemp(dir, compilerName+"-*")
	if err != nil {
		return nil, &startError{err}
	}
	defer os.Remove(file.Name())
	_, err = io.WriteString(file, image)
	// Closed before the start: a file open for writing can't be executed.
	err = errors.Join(err, file.Chmod(0o700), file.Close())
	if err != nil {
		return nil, &startError{err}
	}
	return runPath(file.Name(), stdin, args...)
}

// runPath starts a program and waits for it. Its three streams are memory
// files, so neither side ever waits for the other.
func runPath(path string, stdin []byte, args ...string) ([]byte, error) {
	var streams [3]*os.File
	var fds [3]uintptr
	for i := range streams {
		file, err := memfd("gantry-seccomp-stream", unix.MFD_NOEXEC_SEAL)
		if err != nil {
			return nil, fmt.Errorf("memfd_create: %w", err)
		}
		defer file.Close()
		streams[i], fds[i] = file, file.Fd()
	}
	if _, err := streams[0].WriteAt(stdin, 0); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	//nolint:forbidigo // the one other child (see the rule)
	pid, err := syscall.ForkExec(path, append([]string{compilerName}, args...), &syscall.ProcAttr{Env: []string{}, Files: fds[:]})
	if err != nil {
		return nil, &startError{fmt.Errorf("start %s: %w", path, err)}
	}
	var status syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("wait: %w", err)
	}
	return answer(status, streams[1], streams[2])
}

// answer reads what the compiler left on its standard output and error.
func answer(status syscall.WaitStatus, stdout, stderr *os.File) ([]byte, error) {
	if status.Exited() && status.ExitStatus() == 0 {
		return readAll(stdout)
	}
	text, err := readAll(stderr)
	if err != nil {
		return nil, err
	}
	message := strings.TrimSpace(string(text))
	line, _, _ := strings.Cut(message, "\n")
	switch {
	case status.Exited() && status.ExitStatus() == profileStatus && line != "":
		return nil, parseProblems(message)
	case status.Signaled():
		return nil, fmt.Errorf("died of signal %d: %s", status.Signal(), line)
	}
	return nil, fmt.Errorf("ended with status %d: %s", status.ExitStatus(), line)
}

func readAll(file *os.File) ([]byte, error) {
	// The child moved the offset that it shares with us.
	b, err := io.ReadAll(io.NewSectionReader(file, 0, maxEntry))
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return b, nil
}

// memfd makes a memory file. Kernels before 6.3 don't know the flags that
// tell whether it may be executed, and allow it.
func memfd(name string, flag int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|flag)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
