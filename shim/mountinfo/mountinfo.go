// Package mountinfo reads the kernel's list of mounts, proc_pid_mountinfo(5).
package mountinfo

import (
	"bufio"
	"bytes"
	"io"
	"os"
)

// Self is the list of this process's mount namespace.
const Self = "/proc/self/mountinfo"

// Mount is a line of the list. The fields are as the kernel writes them, and good until the callback returns.
type Mount struct {
	Root  []byte // of the file system, what is mounted; Path makes a path of it
	Point []byte // where; Path makes a path of it
	Type  []byte // of the file system
	Super []byte // options of the file system
}

// maxLine is how much of a line is looked at, in bytes: two paths of PATH_MAX that are escaped as a whole.
const maxLine = 32 << 10

// Each calls do for each line of the list in a file, in its order, which is mostly that of the mounting, until do says
// that it has seen enough: the kernel writes as much as is read, and a host of a thousand containers has a long list.
// Mounts stacked on one point are a line each.
func Each(file string, do func(m *Mount) (enough bool)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, maxLine)
	for continued := false; ; {
		line, more, err := r.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if m, ok := parse(line); ok && !continued && do(&m) {
			return nil
		}
		continued = more
	}
}

// parse takes a line apart: id, parent, device, root, point, options, any number of tags, a hyphen, type, source,
// options of the file system. What follows the point can be missing in a line that is cut.
func parse(line []byte) (m Mount, ok bool) {
	var field []byte
	for range 3 {
		_, line, _ = bytes.Cut(line, space)
	}
	m.Root, line, _ = bytes.Cut(line, space)
	m.Point, line, ok = bytes.Cut(line, space)
	for len(line) > 0 && string(field) != "-" {
		field, line, _ = bytes.Cut(line, space)
	}
	m.Type, line, _ = bytes.Cut(line, space)
	_, m.Super, _ = bytes.Cut(line, space)
	return m, ok && len(m.Point) > 0
}

var space = []byte(" ")

// Path takes back the kernel's writing of blanks and backslashes in a field as \ooo.
func Path(field []byte) string {
	if bytes.IndexByte(field, '\\') < 0 {
		return string(field)
	}
	out := make([]byte, 0, len(field))
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) && octal(field[i+1:i+4]) {
			out = append(out, (field[i+1]-'0')<<6|(field[i+2]-'0')<<3|(field[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, field[i])
	}
	return string(out)
}

func octal(digits []byte) bool {
	for _, d := range digits {
		if d < '0' || d > '7' {
			return false
		}
	}
	return true
}
