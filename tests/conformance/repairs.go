package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// repairs adds files to the root file system of programs whose own bundle can't work with any runtime.
// docs/runtime-tools.md tells what goes wrong without. -stock leaves the repairs out.
var repairs = map[string][]repair{
	// It starts /runtimetest, which it doesn't copy into its bundle as the other programs do.
	"misc_props": {{path: "runtimetest", from: "runtimetest"}},
	// It starts `true`, and some time later expects to kill it. PATH finds this one first.
	"pidfile": {{path: "usr/local/sbin/true", text: "#!/bin/sh\nexec sleep 30\n"}},
}

// repair is one file to add: its text, or a copy of a file in the suite's folder.
type repair struct {
	path string // inside the root file system, without a leading slash
	from string
	text string
}

// repairedSuite makes a copy of the suite's folder under work, with the files added to the archive.
func repairedSuite(suiteDir, work string, files []repair) (string, error) {
	dir := filepath.Join(work, "suite")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	runtimetest, err := os.ReadFile(filepath.Join(suiteDir, "runtimetest"))
	if err != nil {
		return "", err
	}
	if err = os.WriteFile(filepath.Join(dir, "runtimetest"), runtimetest, 0o755); err != nil {
		return "", err
	}
	archive := "rootfs-" + runtime.GOARCH + ".tar.gz"
	in, err := os.Open(filepath.Join(suiteDir, archive))
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := createFile(filepath.Join(dir, archive))
	if err != nil {
		return "", err
	}
	defer out.Close()
	zipped := gzip.NewWriter(out)
	written := tar.NewWriter(zipped)
	if err = copyArchive(written, in); err != nil {
		return "", err
	}
	for _, file := range files {
		data := []byte(file.text)
		if file.from != "" {
			if data, err = os.ReadFile(filepath.Join(suiteDir, file.from)); err != nil {
				return "", err
			}
		}
		header := &tar.Header{Name: file.path, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}
		if err := written.WriteHeader(header); err != nil {
			return "", err
		}
		if _, err := written.Write(data); err != nil {
			return "", err
		}
	}
	return dir, errors.Join(written.Close(), zipped.Close(), out.Close())
}

func copyArchive(to *tar.Writer, from io.Reader) error {
	unzipped, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.WriteHeader(header); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
		if _, err := io.Copy(to, archive); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}
