package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var drivers = []string{JSONFile, Local}

// at is a time that is n seconds old enough to be read.
func at(n int) time.Time { return time.Unix(1700000000+int64(n), 123456789).UTC() }

func line(n int) Entry {
	return Entry{Source: "stdout", Time: at(n), Line: fmt.Appendf(nil, "line %d", n)}
}

func open(t *testing.T, driver, path string, r Rotation) *Writer {
	t.Helper()
	w, err := Open(driver, path, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func write(t *testing.T, w *Writer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := w.Write([]Entry{line(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// read gives what is read as text.
func read(t *testing.T, driver, path string, q Query) string {
	t.Helper()
	var b strings.Builder
	err := Read(t.Context(), driver, path, q, func(e *Entry) error {
		b.Write(e.Line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

// TestJSONIsDockers has lines that dockerd wrote.
func TestJSONIsDockers(t *testing.T) {
	for _, c := range []struct {
		e    Entry
		want string
	}{
		{Entry{Source: "stdout", Time: at(0), Line: []byte("a\tb\"c\\<&>\x01\r\xff\u2028é")}, `{"log":"a\u0009b\"c\\\u003c\u0026\u003e\u0001\r\ufffd\u2028é\n","stream":"stdout","time":"2023-11-14T22:13:20.123456789Z"}`},
		{Entry{Source: "stderr", Time: time.Unix(1700000000, 0)}, `{"log":"\n","stream":"stderr","time":"2023-11-14T22:13:20Z"}`},
		{Entry{Source: "stdout", Time: at(0), Line: []byte("x"), Partial: &Partial{ID: "1", Ordinal: 1}}, `{"log":"x","stream":"stdout","time":"2023-11-14T22:13:20.123456789Z"}`},
	} {
		got := string(newJSONCodec(nil).appendEntry(nil, &c.e))
		if diff := cmp.Diff(c.want+"\n", got); diff != "" {
			t.Error(diff)
		}
	}
	got := string(newJSONCodec(map[string]string{"b": "2", "a": "1"}).appendEntry(nil, &Entry{Source: "stdout", Time: at(0)}))
	want := `{"log":"\n","stream":"stdout","attrs":{"a":"1","b":"2"},"time":"2023-11-14T22:13:20.123456789Z"}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLocalIsDockers compares with a file that moby 29's local driver wrote.
func TestLocalIsDockers(t *testing.T) {
	var got []byte
	for _, e := range []Entry{
		{Source: "stdout", Time: at(0), Line: []byte("one")},
		{Source: "stderr", Time: at(0)},
		{Source: "stdout", Time: at(0), Line: []byte("part"), Partial: &Partial{ID: "abc", Ordinal: 1}},
		{Source: "stdout", Time: at(0), Line: []byte("rest"), Partial: &Partial{ID: "abc", Ordinal: 2, Last: true}},
	} {
		got = newLocalCodec(map[string]string{"k": "v"}).appendEntry(got, &e)
	}
	want, err := os.ReadFile("testdata/moby-local.log")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func readAll(t *testing.T, driver, path string) (got []Entry) {
	t.Helper()
	err := Read(t.Context(), driver, path, Query{Tail: -1}, func(e *Entry) error {
		got = append(got, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEntriesComeBack(t *testing.T) {
	attrs := map[string]string{"k": "v", "a": ""}
	entries := []Entry{
		{Source: "stdout", Time: at(0), Line: []byte("one")},
		{Source: "stderr", Time: at(1), Line: []byte("")},
		{Source: "stdout", Time: at(2), Line: []byte("part"), Partial: &Partial{ID: "abc", Ordinal: 1}},
		{Source: "stdout", Time: at(2), Line: []byte("rest"), Partial: &Partial{ID: "abc", Ordinal: 2, Last: true}},
	}
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			w, err := Open(driver, path, Rotation{}, attrs)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.Write(entries), w.Close()); err != nil {
				t.Fatal(err)
			}
			got := readAll(t, driver, path)
			var want []Entry
			for _, e := range entries {
				e.Attrs = []Attr{{"a", ""}, {"k", "v"}}
				if e.whole() {
					e.Line = append(slices.Clip(e.Line), '\n')
				}
				if driver == JSONFile {
					e.Partial = nil // It is not in the file: a missing newline says it.
				}
				want = append(want, e)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRotation(t *testing.T) {
	for _, driver := range drivers {
		for _, c := range []struct {
			r    Rotation
			want []string
			// first is the first line that is still there.
			first int
		}{
			{Rotation{Size: 1}, []string{"log"}, 9},
			{Rotation{Size: 1, Files: 1}, []string{"log"}, 9},
			{Rotation{Size: 1, Files: 3}, []string{"log", "log.1", "log.2"}, 7},
			{Rotation{Size: 1, Files: 4, Compress: true}, []string{"log", "log.1.gz", "log.2.gz", "log.3.gz"}, 6},
			{Rotation{Size: -1, Files: 4}, []string{"log"}, 0},
		} {
			t.Run(fmt.Sprint(driver, c.r), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "log")
				w := open(t, driver, path, c.r)
				write(t, w, 0, 10)
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				var names []string
				entries, _ := os.ReadDir(dir)
				for _, e := range entries {
					names = append(names, e.Name())
				}
				if diff := cmp.Diff(c.want, names); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(numbered(c.first, 10), read(t, driver, path, Query{Tail: -1})); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(numbered(max(c.first, 8), 10), read(t, driver, path, Query{Tail: 2})); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestBounds(t *testing.T) {
	for _, driver := range drivers {
		path := filepath.Join(t.TempDir(), "log")
		w := open(t, driver, path, Rotation{Size: 400, Files: 5, Compress: true})
		write(t, w, 0, 20)
		for _, c := range []struct {
			q        Query
			from, to int
		}{
			{Query{Tail: -1}, 0, 20},
			{Query{Tail: 0}, 0, 0},
			{Query{Tail: 7}, 13, 20},
			{Query{Tail: 100}, 0, 20},
			{Query{Tail: -1, Since: at(15)}, 15, 20},
			{Query{Tail: -1, Until: at(4)}, 0, 5},
			{Query{Tail: 10, Since: at(5), Until: at(12)}, 10, 13},
			{Query{Tail: -1, Since: at(30)}, 0, 0},
		} {
			if diff := cmp.Diff(numbered(c.from, c.to), read(t, driver, path, c.q)); diff != "" {
				t.Errorf("%s %+v: %s", driver, c.q, diff)
			}
		}
	}
}

// TestTornEnd cuts a log at every byte of its last entry. What is whole is read, and writing goes on behind it.
func TestTornEnd(t *testing.T) {
	for _, driver := range drivers {
		path := filepath.Join(t.TempDir(), "log")
		w := open(t, driver, path, Rotation{})
		write(t, w, 0, 2)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for cut := len(whole)/2 + 1; cut < len(whole); cut++ {
			if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			got := read(t, driver, path, Query{Tail: -1})
			if got != numbered(0, 1) {
				t.Fatalf("%s cut at %d: got %q", driver, cut, got)
			}
			if got := read(t, driver, path, Query{Tail: 1}); got != "line 0\n" {
				t.Fatalf("%s cut at %d: the last is %q", driver, cut, got)
			}
			w := open(t, driver, path, Rotation{})
			write(t, w, 5, 6)
			_ = w.Close()
			want := "line 0\nline 5\n"
			if driver == JSONFile && cut == len(whole)-1 {
				want = "line 0\nline 1\nline 5\n" // Only the newline was missing.
			}
			if got := read(t, driver, path, Query{Tail: -1}); got != want {
				t.Fatalf("%s cut at %d: got %q after repair, want %q", driver, cut, got, want)
			}
		}
	}
}

func TestGarbageIsNotShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := open(t, JSONFile, path, Rotation{})
	write(t, w, 0, 1)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "\x00\x00\x00not json\n[1]\n%s\n", strings.Repeat("x", 2*maxEntry))
	f.Close()
	write(t, w, 1, 2)
	if got := read(t, JSONFile, path, Query{Tail: -1}); got != numbered(0, 2) {
		t.Errorf("got %.200q", got)
	}
}

// TestFollow reads while a writer rotates under it, and ends when it is told that the writer has ended.
func TestFollow(t *testing.T) {
	for _, driver := range drivers {
		for _, r := range []Rotation{{}, {Size: 2000, Files: 5}, {Size: 2000, Files: 50, Compress: true}} {
			t.Run(fmt.Sprint(driver, r), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "log")
				w := open(t, driver, path, r)
				write(t, w, 0, 5)
				ended := make(chan struct{})
				// At most 20 lines ahead, so that the reader is never too late for a rotation.
				turn, begin := make(chan struct{}, 20), make(chan struct{})
				go func() {
					defer close(ended)
					<-begin
					for i := 5; i < 300; i++ {
						turn <- struct{}{}
						_ = w.Write([]Entry{line(i)})
					}
				}()
				var b strings.Builder
				n := 0
				err := Read(t.Context(), driver, path, Query{Tail: 3, Follow: true, Ended: ended}, func(e *Entry) error {
					b.Write(e.Line)
					if n++; n == 3 {
						close(begin)
					} else if n > 3 {
						<-turn
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(numbered(2, 300), b.String()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestARemovedLogIsReadToItsEnd by who opened it before: a client removes the container when it has been told that the
// log comes.
func TestARemovedLogIsReadToItsEnd(t *testing.T) {
	for _, driver := range drivers {
		dir := filepath.Join(t.TempDir(), "container")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path, ended := filepath.Join(dir, "log"), make(chan struct{})
		w := open(t, driver, path, Rotation{})
		write(t, w, 0, 3)
		r, err := NewReader(driver, path, Query{Tail: -1, Follow: true, Ended: ended})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		write(t, w, 3, 5)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		close(ended)
		var b strings.Builder
		if err := r.Read(t.Context(), func(e *Entry) error { b.Write(e.Line); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbered(0, 5), b.String()); diff != "" {
			t.Errorf("%s: %s", driver, diff)
		}
	}
}

func TestFollowOfALogThatIsNotThereYet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string)
	done := make(chan error)
	go func() {
		done <- Read(ctx, JSONFile, path, Query{Tail: -1, Follow: true}, func(e *Entry) error {
			got <- string(e.Line)
			return nil
		})
	}()
	w := open(t, JSONFile, path, Rotation{})
	write(t, w, 0, 1)
	if s := <-got; s != "line 0\n" {
		t.Errorf("got %q", s)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCompressionIsFinished: a process that was killed while it compressed left both forms.
func TestCompressionIsFinished(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	r := Rotation{Size: 1, Files: 3, Compress: true}
	w := open(t, JSONFile, path, Rotation{Size: 1, Files: 3})
	write(t, w, 0, 2)
	_ = w.Close()
	if err := os.WriteFile(path+".1.gz.tmp", []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	w = open(t, JSONFile, path, r)
	_ = w.Close()
	f, err := os.Open(path + ".1.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil || !strings.Contains(string(b), "line 0") {
		t.Errorf("got %q, %v", b, err)
	}
	if got := read(t, JSONFile, path, Query{Tail: -1}); got != numbered(0, 2) {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(path + ".1.gz.tmp"); err == nil {
		t.Error("the torn file is still there")
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		driver  string
		options map[string]string
		want    string
	}{
		{JSONFile, map[string]string{"x": "y"}, "unknown log opt 'x' for json-file log driver"},
		{Local, map[string]string{"x": "y"}, "unknown log opt 'x' for log driver local"},
		{"none", map[string]string{"x": "y"}, ""},
		{"magic", nil, `error looking up logging plugin magic: plugin "magic" not found`},
		{JSONFile, map[string]string{"mode": "x"}, "logger: logging mode not supported: x"},
		{JSONFile, map[string]string{"max-buffer-size": "1m"}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{JSONFile, map[string]string{"mode": "non-blocking", "max-buffer-size": "1m", "tag": "x", "labels": "y"}, ""},
	} {
		got := ""
		if err := Check(c.driver, c.options); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: got %q, want %q", c.options, got, c.want)
		}
	}
	for _, c := range []struct {
		driver  string
		options map[string]string
		want    Rotation
		err     string
	}{
		{JSONFile, nil, Rotation{10 << 20, 3, false}, ""},
		{JSONFile, map[string]string{"max-size": "1k"}, Rotation{1000, 1, false}, ""},
		{JSONFile, map[string]string{"max-size": "-1"}, Rotation{-1, 1, false}, ""},
		{JSONFile, map[string]string{"max-file": "7"}, Rotation{10 << 20, 7, false}, ""},
		{JSONFile, map[string]string{"max-size": "0"}, Rotation{}, "max-size must be a positive number"},
		{JSONFile, map[string]string{"max-file": "0"}, Rotation{}, "max-file cannot be less than 1"},
		{JSONFile, map[string]string{"max-size": "1k", "compress": "true"}, Rotation{}, "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{Local, nil, Rotation{20 << 20, 5, true}, ""},
		{Local, map[string]string{"max-size": "1m", "max-file": "2", "compress": "false"}, Rotation{1000000, 2, false}, ""},
		{Local, map[string]string{"max-file": "1"}, Rotation{}, "compression cannot be enabled when max file count is 1"},
		{Local, map[string]string{"max-file": "x"}, Rotation{}, `invalid value for max-file: x: strconv.Atoi: parsing "x": invalid syntax`},
	} {
		got, err := Limit(c.driver, c.options)
		switch {
		case c.err != "" && (err == nil || err.Error() != c.err):
			t.Errorf("%v: got %v, want %q", c.options, err, c.err)
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%v: got %v %v, want %v", c.options, got, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	e := line(1)
	e.Partial = &Partial{ID: "x", Ordinal: 1}
	f.Add(newJSONCodec(nil).appendEntry(nil, &e), 1)
	f.Add(newLocalCodec(map[string]string{"a": "b"}).appendEntry(nil, &e), 1)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 3)
	f.Fuzz(func(t *testing.T, content []byte, tail int) {
		path := filepath.Join(t.TempDir(), "log")
		for _, driver := range drivers {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			count := func(q Query) (n int) {
				_ = Read(t.Context(), driver, path, q, func(*Entry) error { n++; return nil })
				return n
			}
			all := count(Query{Tail: -1})
			if tail >= 0 {
				if n := count(Query{Tail: tail}); n > all || n > tail {
					t.Fatalf("%s: %d of the last %d, %d in all", driver, n, tail, all)
				}
			}
			// A writer makes it a log to which an entry can be added and read back.
			w := open(t, driver, path, Rotation{})
			if err := errors.Join(w.Write([]Entry{line(7)}), w.Close()); err != nil {
				t.Fatal(err)
			}
			got := readAll(t, driver, path)
			if driver == JSONFile && string(got[len(got)-1].Line) != "line 7\n" {
				t.Fatalf("the last entry is %q", got[len(got)-1].Line)
			}
		}
	})
}
