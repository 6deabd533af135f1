package mount

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const lowerdir = "lowerdir="

// lowers are the lower layers' index in the options' data, and their paths as they are written there: overlayfs
// takes a backslash before a colon (or itself) away.
func lowers(data []string) (index int, dirs []string) {
	for i, s := range data {
		if list, ok := strings.CutPrefix(s, lowerdir); ok {
			return i, splitLayers(list)
		}
	}
	return -1, nil
}

// splitLayers splits at the colons that no backslash is before.
func splitLayers(list string) []string {
	var dirs []string
	start := 0
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '\\':
			i++
		case ':':
			dirs = append(dirs, list[start:i])
			start = i + 1
		}
	}
	return append(dirs, list[start:])
}

// unescaped is the path that a layer's text stands for.
func unescaped(layer string) string {
	if !strings.Contains(layer, `\`) {
		return layer
	}
	var b strings.Builder
	for i := 0; i < len(layer); i++ {
		if layer[i] == '\\' && i+1 < len(layer) {
			i++
		}
		b.WriteByte(layer[i])
	}
	return b.String()
}

// commonDir is the deepest directory that is above all of the layers, or "" where only / is. The empty ones, of
// overlayfs's double colon before a layer of data only, don't count.
func commonDir(layers []string) string {
	dir := ""
	for i, l := range layers {
		switch {
		case l == "":
			continue
		case l[0] != '/':
			return ""
		case i == 0:
			dir = path.Dir(l)
		}
		for dir != "/" && !strings.HasPrefix(l, dir+"/") {
			dir = path.Dir(dir)
		}
	}
	if dir == "/" {
		return ""
	}
	return dir
}

// below is the layers with the directory above them replaced.
func below(layers []string, dir, by string) string {
	moved := make([]string, len(layers))
	for i, l := range layers {
		if l != "" {
			moved[i] = by + l[len(dir)+1:]
		}
	}
	return lowerdir + strings.Join(moved, ":")
}

// compacted makes the layers' paths relative to the directory that is above all of them, for a mount from there.
// The directory is "" and the options are as they were where there is none.
func compacted(o *options) (dir string, _ *options) {
	i, layers := lowers(o.data)
	if dir = commonDir(layers); dir == "" {
		return "", o
	}
	data := slices.Clone(o.data)
	data[i] = below(layers, dir, "")
	return unescaped(dir), o.withData(data)
}

// mountFrom calls do with dir as the working directory, on a thread that has one of its own. Without dir it just calls.
// The other way round the page, fsconfig(2)'s lowerdir+, is there since Linux 6.7 only.
//
// The thread goes back to where it was and is used on: its end would be taken for the shim's by the runtimes that it has
// started (prctl(2), PR_SET_PDEATHSIG).
func mountFrom(dir string, do func() error) error {
	if dir == "" {
		return do()
	}
	before, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("the working directory: %w", err)
	}
	defer unix.Close(before)
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// Its directory would be the process's: the next goroutine gets another thread.
		defer runtime.UnlockOSThread()
		done := make(chan error, 1)
		go func() { done <- mountFrom(dir, do) }()
		return <-done
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("unshare the working directory: %w", err)
	}
	err = unix.Chdir(dir)
	if err == nil {
		err = do()
	}
	if back := unix.Fchdir(before); back != nil {
		return errors.Join(err, fmt.Errorf("back to the working directory: %w", back)) // and the thread ends
	}
	runtime.UnlockOSThread()
	return err
}
