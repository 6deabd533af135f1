package mountinfo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEach(t *testing.T) {
	type line struct{ Root, Point, Type, Super string }
	file := filepath.Join(t.TempDir(), "mountinfo")
	long := "lowerdir=" + strings.Repeat("x", maxLine)
	text := strings.Join([]string{
		"31 23 0:28 / /sys/fs rw - tmpfs none rw,mode=755",
		`32 31 0:29 /a\040b /p\134q\011r\303\244 ro,nosuid shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct`,
		"33 31 0:30 / /long rw - overlay overlay rw," + long,
		`34 31 0:31 /bad\04 /x\9 rw - ext4 /dev/vda rw`,
		"35 31 0:31 / /cut rw",
		"36 31 0:31 /",
		"",
		"37 31 0:32 / /last rw - proc proc rw",
	}, "\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []line
	err := Each(file, func(m *Mount) bool {
		super := string(m.Super)
		if len(super) > 100 {
			super = super[:12]
		}
		got = append(got, line{Path(m.Root), Path(m.Point), string(m.Type), super})
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []line{
		{"/", "/sys/fs", "tmpfs", "rw,mode=755"},
		{"/a b", "/p\\q\trä", "cgroup", "rw,cpu,cpuacct"},
		{"/", "/long", "overlay", "rw,lowerdir="},
		{`/bad\04`, `/x\9`, "ext4", "rw"},
		{"/", "/cut", "", ""},
		{"/", "/last", "proc", "rw"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	seen := 0
	err = Each(file, func(*Mount) bool {
		seen++
		return seen == 2
	})
	if err != nil || seen != 2 {
		t.Errorf("%d lines after enough was said at the second, error %v", seen, err)
	}
}

func TestEachOfTheKernel(t *testing.T) {
	roots := 0
	err := Each(Self, func(m *Mount) bool {
		if string(m.Point) == "/" {
			roots++
		}
		if len(m.Type) == 0 || len(m.Super) == 0 || len(m.Root) == 0 {
			t.Errorf("incomplete: %q", m)
		}
		return false
	})
	if err != nil || roots == 0 {
		t.Errorf("%d mounts on /, error %v", roots, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`32 31 0:29 /a\040b /p\134 rw shared:1 - cgroup cgroup rw`))
	f.Add([]byte(`\\\\ - -`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, ok := parse(line)
		if p := Path(m.Point); ok && (p == "" || len(p) > len(line)) {
			t.Errorf("%q: point %q", line, p)
		}
	})
}
