package cgroup

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// folder is a cgroup's directory, open for the reading of its files. What is not there, or is not as it should be,
// reads as absent: which files there are depends on the kernel, its configuration and the controllers.
type folder struct {
	fd   int
	path string
	buf  *[]byte
}

// buffers are for a file each. The largest of most kernels, v2's memory.stat, has 2 KiB.
var buffers = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// openFolder opens a cgroup. The error is fs.ErrNotExist where it has gone.
func openFolder(dir string) (*folder, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &folder{fd: fd, path: dir, buf: buffers.Get().(*[]byte)}, nil
}

func (f *folder) close() {
	unix.Close(f.fd)
	buffers.Put(f.buf)
}

// read is the text of a file, good until the next read; nil where there is none.
func (f *folder) read(name string) []byte {
	fd, err := unix.Openat(f.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	for n := 0; ; {
		buf := *f.buf
		got, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil
		}
		n += got
		// The kernel writes such a file at once: a read that leaves room was the last one.
		if n < len(buf) {
			return buf[:n]
		}
		*f.buf = append(buf, make([]byte, len(buf))...)
	}
}

// number is the value of a file with nothing else in it. The word max reads as the given value.
func (f *folder) number(name string, limitless uint64) (v uint64, ok bool) {
	return parseNumber(bytes.TrimSpace(f.read(name)), limitless)
}

// field is a key of a flat-keyed file, and where its value goes.
type field struct {
	key string
	to  *uint64
}

// fields reads a flat-keyed file, and tells whether it is there.
func (f *folder) fields(name string, fields []field) bool {
	text := f.read(name)
	if text == nil {
		return false
	}
	eachPair(text, func(key []byte, value uint64) {
		for i := range fields {
			if string(key) == fields[i].key {
				*fields[i].to = value
				return
			}
		}
	})
	return true
}

// eachPair calls do for the lines that are a key and a number, cgroup-v2.rst "Flat keyed". Others are passed over.
func eachPair(text []byte, do func(key []byte, value uint64)) {
	for line := range bytes.Lines(text) {
		key, rest, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if !ok || len(key) == 0 {
			continue
		}
		if v, ok := parseNumber(rest, math.MaxUint64); ok {
			do(key, v)
		}
	}
}

// parseNumber reads digits. A negative number, which the kernel's counters show for a moment, is 0.
func parseNumber(text []byte, limitless uint64) (v uint64, ok bool) {
	if string(text) == "max" {
		return limitless, true
	}
	if len(text) > 1 && text[0] == '-' {
		_, err := strconv.ParseUint(string(text[1:]), 10, 64)
		return 0, err == nil
	}
	v, err := strconv.ParseUint(string(text), 10, 64)
	return v, err == nil
}

// nested calls do for the lines that are a name and key=value pairs, cgroup-v2.rst "Nested keyed".
func nested(text []byte, do func(name []byte, pairs [][]byte)) {
	for line := range bytes.Lines(text) {
		if words := bytes.Fields(line); len(words) > 0 {
			do(words[0], words[1:])
		}
	}
}

// device reads major:minor.
func device(text []byte) (major, minor uint64, ok bool) {
	a, b, ok := bytes.Cut(text, []byte(":"))
	major, okMajor := parseNumber(a, 0)
	minor, okMinor := parseNumber(b, 0)
	return major, minor, ok && okMajor && okMinor
}

// pageSizes are the sizes of huge pages as the controllers' files are named by them: 2MB, 1GB.
func pageSizes() []string {
	entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil {
		return nil
	}
	var sizes []string
	for _, e := range entries {
		var kb uint64
		if name, ok := bytes.CutPrefix([]byte(e.Name()), []byte("hugepages-")); ok {
			if name, ok = bytes.CutSuffix(name, []byte("kB")); ok {
				kb, _ = parseNumber(name, 0)
			}
		}
		if kb > 0 {
			sizes = append(sizes, pageSize(kb))
		}
	}
	return sizes
}

// pageSize is the kernel's name of a size of huge pages, mm/hugetlb_cgroup.c.
func pageSize(kb uint64) string {
	switch {
	case kb >= 1<<20:
		return strconv.FormatUint(kb>>20, 10) + "GB"
	case kb >= 1<<10:
		return strconv.FormatUint(kb>>10, 10) + "MB"
	default:
		return strconv.FormatUint(kb, 10) + "KB"
	}
}
