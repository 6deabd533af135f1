package seccomp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const simple = `{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
	"syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]}`

// countingCompiler puts a compiler into PATH that leaves a line per start.
func countingCompiler(t *testing.T) (starts func() int) {
	t.Helper()
	compiler := needCompiler(t)
	log := filepath.Join(t.TempDir(), "log")
	fakeCompiler(t, fmt.Sprintf("echo start >>%s\nexec %s \"$@\"\n", log, compiler))
	return func() int {
		b, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Count(string(b), "start")
	}
}

func mustLoad(t *testing.T, raw, dir string) *Filter {
	t.Helper()
	f, err := Load([]byte(raw), dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTheSecondLoadComesFromTheCache(t *testing.T) {
	starts := countingCompiler(t)
	dir := filepath.Join(t.TempDir(), "gantry", "seccomp")
	first := mustLoad(t, simple, dir)
	second := mustLoad(t, simple, dir)
	if diff := cmp.Diff(first, second); diff != "" || len(first.Instructions) == 0 || first.Flags != unix.SECCOMP_FILTER_FLAG_LOG {
		t.Errorf("got %+v, and then: %s", first, diff)
	}
	if n := starts(); n != 1 {
		t.Errorf("the compiler started %d times, want once", n)
	}
	mustLoad(t, simple+" ", dir)
	if n := starts(); n != 2 {
		t.Errorf("after another profile the compiler started %d times, want twice", n)
	}
	mustLoad(t, simple, "")
	if n := starts(); n != 3 {
		t.Errorf("after a load without a cache the compiler started %d times, want three times", n)
	}
}

func TestNotifyFieldsComeFromTheCache(t *testing.T) {
	needCompiler(t)
	dir := filepath.Join(t.TempDir(), "seccomp")
	const raw = `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "listenerMetadata": "m",
		"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}`
	mustLoad(t, raw, dir)
	f := lookup(dir, compilerID(), []byte(raw))
	if f == nil || !f.Notify || f.ListenerPath != "/l" || f.ListenerMetadata != "m" {
		t.Errorf("got %+v", f)
	}
}

// change alters the one entry of a cache, which lies at path.
type change func(t *testing.T, dir, path string)

func TestAnythingOffIsAMissAndIsReplaced(t *testing.T) {
	edit := func(f func(b []byte) []byte) change {
		return func(t *testing.T, _, path string) {
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, f(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		change change
	}{
		{"an instruction changed", edit(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })},
		{"the magic changed", edit(func(b []byte) []byte { b[7]++; return b })},
		{"cut in the middle", edit(func(b []byte) []byte { return b[:len(b)-9] })},
		{"cut to the header", edit(func(b []byte) []byte { return b[:entryHeader] })},
		{"empty", edit(func([]byte) []byte { return nil })},
		{"something at the end", edit(func(b []byte) []byte { return append(b, 0) })},
		{"made by another compiler", edit(func(b []byte) []byte {
			return formatEntry("other", []byte(simple), b[entryHeader+len(compilerID())+len(simple):])
		})},
		{"made for another profile of the same hash", edit(func(b []byte) []byte {
			return formatEntry(compilerID(), []byte(strings.Replace(simple, "100", "101", 1)), b[entryHeader+len(compilerID())+len(simple):])
		})},
		{"lengths that overflow", edit(func(b []byte) []byte {
			copy(b[16:], "\xff\xff\xff\xff\xff\xff\xff\xff")
			h := hash64(b[16:])
			for i := range 8 {
				b[8+i] = byte(h >> (8 * i))
			}
			return b
		})},
		{"readable by the group", func(t *testing.T, _, path string) { must(t, os.Chmod(path, 0o640)) }},
		{"two links", func(t *testing.T, dir, path string) { must(t, os.Link(path, filepath.Join(dir, "second"))) }},
		{"a symlink to a good entry", func(t *testing.T, dir, path string) {
			must(t, os.Rename(path, filepath.Join(dir, "good")))
			must(t, os.Symlink("good", path))
		}},
		{"a FIFO", func(t *testing.T, _, path string) {
			must(t, os.Remove(path))
			must(t, unix.Mkfifo(path, 0o600))
		}},
		{"another owner", func(t *testing.T, _, path string) {
			if os.Geteuid() != 0 {
				t.Skip("chown needs root")
			}
			must(t, os.Chown(path, 65534, 65534))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			needCompiler(t)
			dir := filepath.Join(t.TempDir(), "seccomp")
			want := mustLoad(t, simple, dir)
			path := filepath.Join(dir, entryName([]byte(simple)))
			if lookup(dir, compilerID(), []byte(simple)) == nil {
				t.Fatal("a good entry is a miss")
			}
			tt.change(t, dir, path)
			if f := lookup(dir, compilerID(), []byte(simple)); f != nil {
				t.Fatal("the changed entry is a hit")
			}
			if diff := cmp.Diff(want, mustLoad(t, simple, dir)); diff != "" {
				t.Error(diff)
			}
			if lookup(dir, compilerID(), []byte(simple)) == nil {
				t.Error("the entry was not replaced by a good one")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestACacheFolderThatIsNotOursAloneIsNotUsed(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, dir string)
	}{
		{"writable by all", func(t *testing.T, dir string) { must(t, os.Mkdir(dir, 0o700)); must(t, os.Chmod(dir, 0o777)) }},
		{"writable by the group", func(t *testing.T, dir string) { must(t, os.Mkdir(dir, 0o700)); must(t, os.Chmod(dir, 0o770)) }},
		{"a symlink", func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+".real", 0o700))
			must(t, os.Symlink(dir+".real", dir))
		}},
		{"a file", func(t *testing.T, dir string) { must(t, os.WriteFile(dir, nil, 0o600)) }},
		{"another owner", func(t *testing.T, dir string) {
			if os.Geteuid() != 0 {
				t.Skip("chown needs root")
			}
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Chown(dir, 65534, 65534))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			starts := countingCompiler(t)
			dir := filepath.Join(t.TempDir(), "seccomp")
			tt.make(t, dir)
			mustLoad(t, simple, dir)
			mustLoad(t, simple, dir)
			if n := starts(); n != 2 {
				t.Errorf("the compiler started %d times for two loads", n)
			}
			if files, _ := filepath.Glob(dir + "*/*"); len(files) > 0 {
				t.Errorf("left %v", files)
			}
		})
	}
}

func TestManyLoadsAtOnce(t *testing.T) {
	needCompiler(t)
	dir := filepath.Join(t.TempDir(), "gantry", "seccomp")
	raws := []string{simple, simple + " "}
	want := mustLoad(t, simple, "")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			f, err := Load([]byte(raws[i%2]), dir)
			if err != nil || !cmp.Equal(f, want) {
				t.Errorf("load %d: got %+v, %v", i, f, err)
			}
		})
	}
	group.Wait()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("the cache holds %v, %v, want two entries", files, err)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seccomp")
	must(t, os.Mkdir(dir, 0o700))
	old := time.Now().Add(-time.Hour)
	for i := range maxEntries {
		path := filepath.Join(dir, fmt.Sprintf("%016x", i))
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Chtimes(path, old, old.Add(time.Duration(i)*time.Second)))
	}
	frame := (&Filter{}).AppendFrame(nil)
	store(dir, "id", []byte("raw"), frame)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != keepEntries {
		t.Errorf("the cache holds %d files, %v, want %d", len(files), err, keepEntries)
	}
	if lookup(dir, "id", []byte("raw")) == nil {
		t.Error("the new entry is gone")
	}
	if _, err := os.Stat(filepath.Join(dir, "0000000000000000")); err == nil {
		t.Error("the oldest entry is still there")
	}
}

func TestFrames(t *testing.T) {
	f := &Filter{Instructions: make([]byte, 16), Flags: 6, Notify: true, ListenerPath: "/l", ListenerMetadata: "m"}
	frame := f.AppendFrame(nil)
	if diff := cmp.Diff(f, parseFrame(frame)); diff != "" {
		t.Error(diff)
	}
	for n := range frame {
		if parseFrame(frame[:n]) != nil {
			t.Errorf("a frame cut to %d of %d bytes is taken", n, len(frame))
		}
	}
	huge := (&Filter{Instructions: make([]byte, (maxInstructions+1)*instructionSize)}).AppendFrame(nil)
	if parseFrame(huge) != nil {
		t.Error("a program above the kernel's limit is taken")
	}
	odd := (&Filter{Instructions: make([]byte, 15)}).AppendFrame(nil)
	if parseFrame(odd) != nil {
		t.Error("half an instruction is taken")
	}
}

func TestEveryChangeOfAByteChangesTheHash(t *testing.T) {
	text := []byte(simple)
	seen := map[uint64]bool{hash64(text): true, hash64(text[:len(text)-1]): true, hash64(nil): true}
	n := len(seen)
	for i := range text {
		for bit := range 8 {
			text[i] ^= 1 << bit
			seen[hash64(text)] = true
			text[i] ^= 1 << bit
			n++
		}
	}
	if len(seen) != n {
		t.Errorf("%d texts have %d hashes", n, len(seen))
	}
}

func TestCacheDir(t *testing.T) {
	tests := []struct {
		euid      int
		xdg, want string
	}{
		{0, "", "/run/gantry/seccomp"},
		{0, "/run/user/1000", "/run/gantry/seccomp"},
		{1000, "/run/user/1000", "/run/user/1000/gantry/seccomp"},
		{1000, "", ""},
		{1000, "relative", ""},
	}
	for _, tt := range tests {
		if got := CacheDir(tt.euid, tt.xdg); got != tt.want {
			t.Errorf("uid %d, %q: got %q, want %q", tt.euid, tt.xdg, got, tt.want)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	raw, err := os.ReadFile("../../tests/bench/testdata/seccomp-docker.json")
	if err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(b.TempDir(), "seccomp")
	frame := (&Filter{Instructions: make([]byte, 1312*instructionSize)}).AppendFrame(nil)
	store(dir, "id", raw, frame)
	for b.Loop() {
		if lookup(dir, "id", raw) == nil {
			b.Fatal("miss")
		}
	}
}
