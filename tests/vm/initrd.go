package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeInitrd writes the first file system: this program as /init, and the modules.
// See Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
func writeInitrd(file, modules string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	entry(w, "init", unixFile|0o755, self)
	for _, dir := range []string{"proc", "sys", "dev", "root", "modules"} {
		entry(w, dir, unixDir|0o755, nil)
	}
	files, err := filepath.Glob(filepath.Join(modules, "*.ko*"))
	if err != nil {
		return err
	}
	for _, module := range files {
		b, err := os.ReadFile(module)
		if err != nil {
			return err
		}
		entry(w, "modules/"+filepath.Base(module), unixFile|0o644, b)
	}
	entry(w, "TRAILER!!!", 0, nil)
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// Types of files, as cpio(5) has them.
const (
	unixFile = 0o100000
	unixDir  = 0o040000
)

// entry writes one file in the "newc" format: thirteen numbers in hex, the name with its
// NUL, the data, both padded to four bytes. bufio keeps an error until Flush.
func entry(w io.Writer, name string, mode int, data []byte) {
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	pad(w, 110+len(name)+1)
	fmt.Fprintf(w, "%s", data)
	pad(w, len(data))
}

func pad(w io.Writer, length int) {
	fmt.Fprint(w, "\x00\x00\x00"[:-length&3])
}
