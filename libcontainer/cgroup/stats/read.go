package stats

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
)

// Read collects the statistics of a container. It fails for a file that is there and can't
// be read, except that the cgroup itself may vanish at any time.
func Read(set *cgroup.Set) (*Stats, error) {
	s := &Stats{Hugetlb: make(map[string]Hugetlb)}
	var first error
	for _, read := range [...]struct {
		controller string
		v1, v2     func(*source, *Stats)
	}{
		{"cpu", cpuV1, cpuV2},
		{"cpuacct", cpuacctV1, nil},
		{"cpuset", cpusetV1, nil},
		{"memory", memoryV1, memoryV2},
		{"pids", pidsBoth, pidsBoth},
		{"blkio", blkioV1, nil},
		{"io", nil, ioV2},
		{"hugetlb", hugetlbV1, hugetlbV2},
	} {
		dir, unified := set.Dir(read.controller)
		f := read.v1
		if unified {
			f = read.v2
		}
		if dir == "" || f == nil {
			continue
		}
		from := &source{dir: dir}
		f(from, s)
		if from.err != nil && first == nil {
			first = from.err
		}
	}
	return s, first
}

// source is a directory whose files are read; the first error stays.
type source struct {
	dir string
	err error
}

// text reads a file; "" also stands for a file that the kernel lacks, or has only to refuse
// (PSI that is switched off).
func (f *source) text(file string) string {
	text, err := cgroup.ReadFile(f.dir, file)
	if err == nil {
		return text
	}
	for _, missing := range []error{unix.ENOENT, unix.ENODEV, unix.EOPNOTSUPP} {
		if errors.Is(err, missing) {
			return ""
		}
	}
	if f.err == nil {
		f.err = err
	}
	return ""
}

func (f *source) has(file string) bool {
	return unix.Access(f.dir+"/"+file, unix.F_OK) == nil
}

// number reads a file that holds one number.
func (f *source) number(file string) uint64 { return number(f.text(file)) }

// number is 0 for what is none, and for what is negative, which kernels show by mistake at
// times; "max" is the largest.
func number(text string) uint64 {
	if text == "max" {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// numbers reads a file of numbers.
func (f *source) numbers(file string) []uint64 {
	var list []uint64
	for word := range strings.FieldsSeq(f.text(file)) {
		list = append(list, number(word))
	}
	return list
}

// table reads a file of lines "key value".
func (f *source) table(file string) map[string]uint64 {
	text := f.text(file)
	if text == "" {
		return nil
	}
	m := make(map[string]uint64, 64)
	for line := range strings.SplitSeq(text, "\n") {
		if key, value, ok := strings.Cut(line, " "); ok {
			m[key] = number(value)
		}
	}
	return m
}

// ids reads a list in the form of cpuset(7), "0-2,7".
func (f *source) ids(file string) []uint16 {
	var list []uint16
	for part := range strings.SplitSeq(f.text(file), ",") {
		low, high, ok := strings.Cut(part, "-")
		if !ok {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			continue
		}
		last, err := strconv.ParseUint(high, 10, 16)
		if err != nil {
			continue
		}
		for id := first; id <= last; id++ {
			list = append(list, uint16(id))
		}
	}
	return list
}

// pressure reads a file of pressure stall information, nil where there is none.
func (f *source) pressure(file string) *PSI {
	text := f.text(file)
	if text == "" {
		return nil
	}
	zero := PSIShare{Avg10: []byte("0"), Avg60: []byte("0"), Avg300: []byte("0")}
	p := &PSI{Some: zero, Full: zero}
	for line := range strings.SplitSeq(text, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "some":
			p.Some.parse(rest)
		case "full":
			p.Full.parse(rest)
		}
	}
	return p
}

func (s *PSIShare) parse(words string) {
	for word := range strings.FieldsSeq(words) {
		key, value, _ := strings.Cut(word, "=")
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			continue
		}
		switch key {
		case "avg10":
			s.Avg10 = []byte(value)
		case "avg60":
			s.Avg60 = []byte(value)
		case "avg300":
			s.Avg300 = []byte(value)
		case "total":
			s.Total = number(value)
		}
	}
}
