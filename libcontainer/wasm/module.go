package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxModule is the largest file that is taken for a module, in bytes.
const maxModule = 1 << 30

// read finds the module as the runtime did when it made the container, and reads it.
func read(name string, env []string) ([]byte, error) {
	file, err := open(name, env)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", name)
	case info.Size() > maxModule:
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxModule)
	}
	module := make([]byte, info.Size())
	if _, err := io.ReadFull(file, module); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return module, nil
}

// open opens a name with a slash as it is, any other in the directories of PATH.
func open(name string, env []string) (*os.File, error) {
	if strings.Contains(name, "/") {
		return os.Open(name)
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if file, err := os.Open(filepath.Join(dir, name)); err == nil {
			return file, nil
		}
	}
	return nil, fmt.Errorf("%s: not found in $PATH", name)
}

// check tells what a file is that is no module of the first WASI, from its first bytes.
// The engine would only say that it is malformed.
func check(module []byte) error {
	const head = 8 // "\0asm", two bytes of version, two of layer
	switch {
	case len(module) < head || !bytes.HasPrefix(module, []byte("\x00asm")):
		return errors.New("not a WebAssembly module")
	case module[6] != 0 || module[7] != 0:
		return errors.New("a WebAssembly component; modules of WASI preview 1 are supported")
	}
	return nil
}
