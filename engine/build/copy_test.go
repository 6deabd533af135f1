package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files is what is in the newest image: "path mode uid:gid content", without what the base has.
func (w *world) files() (list []string) {
	w.t.Helper()
	root := w.folder(w.last().ChainID.String())
	must(w.t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if _, err := os.Lstat(filepath.Join(w.folder("base"), rel)); err == nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %s %d:%d", rel, info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + to
		}
		list = append(list, line)
		return nil
	}))
	return list
}

// packed is an archive, compressed.
func packed(entries ...entry) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(contextOf(entries...).Bytes())
	_ = z.Close()
	return b.String()
}

// sources is a context with all kinds of files.
func sources() []entry {
	return []entry{
		{name: "a", text: "A"},
		{name: "b", text: "B"},
		{name: "d/"},
		{name: "d/c", text: "C", header: tar.Header{Uid: 7, Gid: 8, Mode: 0o600}},
		{name: "d/l", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/a"}},
		{name: "to-a", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "a"}},
		{name: "to-d", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "d"}},
		{name: "out", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "../../../etc"}},
		{name: "x[1]", text: "X"},
		{name: "p.tgz", text: packed(entry{name: "in/p", text: "P", header: tar.Header{Uid: 3, Gid: 4}})},
		{name: "p.tar", text: "no archive"},
	}
}

func TestCopy(t *testing.T) {
	for _, test := range []struct {
		lines string
		want  []string
	}{
		{"COPY a /new", []string{"new -rw-r--r-- 0:0 A"}},
		{"COPY a /new/", []string{"new drwxr-xr-x 0:0", "new/a -rw-r--r-- 0:0 A"}},
		{"COPY a /dir", []string{"dir/a -rw-r--r-- 0:0 A"}},
		{"COPY a /link/", []string{"dir/a -rw-r--r-- 0:0 A"}},
		{"COPY a /dir/old", nil},
		{"COPY a b /new/", []string{"new drwxr-xr-x 0:0", "new/a -rw-r--r-- 0:0 A", "new/b -rw-r--r-- 0:0 B"}},
		{"COPY [\"a\", \"/with space\"]", []string{"with space -rw-r--r-- 0:0 A"}},
		{"COPY ? /new/", []string{"new drwxr-xr-x 0:0", "new/a -rw-r--r-- 0:0 A", "new/b -rw-r--r-- 0:0 B", "new/c -rw------- 0:0 C", "new/l Lrwxrwxrwx 0:0 -> /a"}},
		{"COPY x[[]1] /new", []string{"new -rw-r--r-- 0:0 X"}},
		{"COPY d /new", []string{"new drwxr-xr-x 0:0", "new/c -rw------- 0:0 C", "new/l Lrwxrwxrwx 0:0 -> /a"}},
		{"COPY d/ /dir", []string{"dir/c -rw------- 0:0 C", "dir/l Lrwxrwxrwx 0:0 -> /a"}},
		{"COPY to-a /new", []string{"new -rw-r--r-- 0:0 A"}},
		{"COPY to-d /new", []string{"new drwxr-xr-x 0:0", "new/c -rw------- 0:0 C", "new/l Lrwxrwxrwx 0:0 -> /a"}},
		{"COPY /a /deep/er/new", []string{"deep drwxr-xr-x 0:0", "deep/er drwxr-xr-x 0:0", "deep/er/new -rw-r--r-- 0:0 A"}},
		{"COPY --chown=1:2 a /deep/new", []string{"deep drwxr-xr-x 1:2", "deep/new -rw-r--r-- 1:2 A"}},
		{"COPY --chown=user:group d /new", []string{"new drwxr-xr-x 1000:50", "new/c -rw------- 1000:50 C", "new/l Lrwxrwxrwx 1000:50 -> /a"}},
		{"COPY --chown=5 a /new", []string{"new -rw-r--r-- 5:5 A"}},
		{"WORKDIR /w\nCOPY a .", []string{"w drwxr-xr-x 0:0", "w/a -rw-r--r-- 0:0 A"}},
		{"WORKDIR /w\nCOPY a sub/", []string{"w drwxr-xr-x 0:0", "w/sub drwxr-xr-x 0:0", "w/sub/a -rw-r--r-- 0:0 A"}},
		{"WORKDIR /w\nWORKDIR x", []string{"w drwxr-xr-x 0:0", "w/x drwxr-xr-x 0:0"}},
		{"ADD p.tgz /new", []string{"new drwxr-xr-x 0:0", "new/in drwxr-xr-x 0:0", "new/in/p -rw-r--r-- 3:4 P"}},
		{"ADD p.tar /new", []string{"new -rw-r--r-- 0:0 no archive"}},
		{"ADD --chown=1:2 a /new", []string{"new -rw-r--r-- 1:2 A"}},
		{"FROM base\nCOPY --chown=9:9 a /one\nFROM base\nCOPY --from=1 /one /two", []string{"two -rw-r--r-- 9:9 A"}},
		{"FROM base AS Name\nCOPY a /one\nFROM base\nCOPY --from=name --chown=3:3 /one /two", []string{"two -rw-r--r-- 3:3 A"}},
		{"COPY --from=base /dir /new", []string{"new drwxr-xr-x 0:0", "new/etc Lrwxrwxrwx 0:0 -> /etc", "new/old -rw-r--r-- 0:0 old"}},
		{"COPY --from=base dir/etc/passwd /p", []string{"p -rw-r--r-- 0:0 user:x:1000:100::/:\n"}},
		{"ENV F=a\nARG D=/new\nCOPY $F ${D}/$F", []string{"new drwxr-xr-x 0:0", "new/a -rw-r--r-- 0:0 A"}},
		// Links never lead out: what is above the root is the root.
		{"COPY a /escape", []string{"outside -rw-r--r-- 0:0 A"}},
		{"COPY a /dir/etc/new", []string{"etc/new -rw-r--r-- 0:0 A"}},
	} {
		w := newWorld(t)
		if _, err := w.build("FROM base\n"+test.lines, Request{}, sources()...); err != nil {
			t.Errorf("%s: %v", test.lines, err)
			continue
		}
		if d := cmp.Diff(test.want, w.files()); d != "" {
			t.Errorf("%s:\n%s", test.lines, d)
		}
		w.clean()
	}
}

// clean says what a build has left.
func (w *world) clean() {
	w.t.Helper()
	if left, err := os.ReadDir(w.service.parts.Dir); err != nil || len(left) > 0 {
		w.t.Errorf("a build leaves %v %v", left, err)
	}
	list, err := os.ReadDir(filepath.Join(w.dir, "trees"))
	must(w.t, err)
	for _, d := range list {
		if strings.HasPrefix(d.Name(), snapshotPrefix) {
			w.t.Errorf("a build leaves snapshot %s", d.Name())
		}
	}
}

func TestCopyErrors(t *testing.T) {
	for _, test := range []struct{ lines, want string }{
		{"COPY none /x", "COPY failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist"},
		{"COPY n* /x", "COPY failed: no source files were specified"},
		{"ADD none /x", "ADD failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist"},
		{"COPY ../a /x", "COPY failed: forbidden path outside the build context: ../a ()"},
		{"COPY d/../../../a /x", "COPY failed: forbidden path outside the build context: d/../../../a ()"},
		{"COPY out/passwd /x", "COPY failed: file not found in build context or excluded by .dockerignore: stat out/passwd: file does not exist"},
		{"COPY a b /x", "When using COPY with more than one source file, the destination must be a directory and end with a /"},
		{"ADD a b /x", "When using ADD with more than one source file, the destination must be a directory and end with a /"},
		{"COPY --chown=nobody a /x", "unable to convert uid/gid chown string to host mapping: can't find uid for user nobody: no such user: nobody"},
		{"COPY --chown=user a /x", "unable to convert uid/gid chown string to host mapping: can't find gid for group user: no such group: user"},
		{"COPY --chown=1:2:3 a /x", "unable to convert uid/gid chown string to host mapping: invalid chown string format: 1:2:3"},
		{"COPY --chmod=7 a /x", "the --chmod option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"},
		{"ADD --checksum=sha256:0 a /x", "the --checksum option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"},
		{"COPY <<E /x\ntext\nE", "the heredoc syntax requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"},
		{"RUN <<E\ntext\nE", "the heredoc syntax requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"},
		{"RUN --mount=type=tmpfs,target=/x true", "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"},
		{"COPY http://host/x /x", "COPY failed: source can't be a URL for COPY"},
		{"COPY --from=0 a /x", "invalid from flag value 0: refers to current build stage"},
		{"COPY --from=7 a /x", "invalid from flag value 7: index out of bounds"},
		{"COPY --from=base none /x", "COPY failed: stat none: file does not exist"},
		{"COPY d /dir/old", "failed to copy files: failed to copy directory: mkdir /dir/old: not a directory"},
	} {
		w := newWorld(t)
		lines := test.lines
		if !strings.HasPrefix(lines, "FROM") {
			lines = "FROM base\n" + lines
		}
		_, err := w.build(lines, Request{}, sources()...)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s:\n%v, want\n%s", test.lines, err, test.want)
		}
		w.clean()
	}
}

// TestLyingContexts: what a context says of itself leads nowhere.
func TestLyingContexts(t *testing.T) {
	link := func(name, to string) entry {
		return entry{name: name, header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: to}}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Mkdir(outside, 0o755))
	for name, entries := range map[string][]entry{
		"a name with dots":              {{name: "../../evil", text: "x"}},
		"an absolute name":              {{name: outside + "/evil", text: "x"}},
		"through a link":                {link("l", outside), {name: "l/evil", text: "x"}},
		"through a link up":             {link("l", "../../../../../.."+outside), {name: "l/evil", text: "x"}},
		"a hard link out":               {{name: "h", header: tar.Header{Typeflag: tar.TypeLink, Linkname: "../../../etc/passwd"}}},
		"a Dockerfile by link":          {link("Dockerfile", "/etc/passwd")},
		"a Dockerfile that is a folder": {{name: "Dockerfile/"}},
		"a Dockerfile that is a FIFO":   {{name: "Dockerfile", header: tar.Header{Typeflag: tar.TypeFifo}}},
		"a .dockerignore by link":       {link(".dockerignore", "/etc/passwd"), {name: "Dockerfile", text: "FROM base"}},
		"half an archive":               nil,
	} {
		w := newWorld(t)
		body := contextOf(append(entries, entry{name: "f", text: strings.Repeat("x", 2000)})...)
		if entries == nil {
			body.Truncate(1000)
		}
		_, err := w.build("", Request{Context: body})
		if err == nil && name != "a .dockerignore by link" {
			t.Errorf("%s: no error", name)
		}
		if left, _ := os.ReadDir(outside); len(left) > 0 {
			t.Errorf("%s: wrote %v", name, left)
		}
		w.clean()
	}
}

func TestManyEntries(t *testing.T) {
	w := newWorld(t)
	var entries []entry
	for i := range 500 {
		entries = append(entries, entry{name: fmt.Sprintf("many/%d", i)})
	}
	_, err := w.build("FROM base\nCOPY . /all/\n", Request{}, entries...)
	must(t, err)
	if n := len(slices.DeleteFunc(w.files(), func(s string) bool { return !strings.HasPrefix(s, "all/many/") })); n != 500 {
		t.Errorf("%d files", n)
	}
}

func TestAddByURL(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/named.tgz":
			rw.Header().Set("Last-Modified", "Thu, 01 Jan 2009 00:00:00 GMT")
			_, _ = rw.Write([]byte(packed(entry{name: "p"})))
		case "/":
			rw.Header().Set("Content-Disposition", "attachment; filename=\"../../from-header\"")
			_, _ = rw.Write([]byte("text"))
		case "/unnamed/":
			_, _ = rw.Write([]byte("text"))
		default:
			http.Error(rw, "nothing here", http.StatusNotFound)
		}
	}))
	defer server.Close()
	for _, test := range []struct{ line, want, err string }{
		{"ADD URL/named.tgz /x/", "x/named.tgz", ""},
		{"ADD URL/ /x/", "x/from-header", ""},
		{"ADD URL/unnamed/ /x", "x", ""},
		{"ADD URL/unnamed/ /x/", "", "ADD failed: cannot determine filename for source URL/unnamed/"},
		{"ADD URL/none /x", "", "ADD failed: failed to GET URL/none with status 404 Not Found: nothing here"},
	} {
		w := newWorld(t)
		_, err := w.build("FROM base\n"+strings.ReplaceAll(test.line, "URL", server.URL), Request{})
		if test.err != "" {
			if want := strings.ReplaceAll(test.err, "URL", server.URL); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", test.line, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		info, err := os.Stat(filepath.Join(w.folder(w.last().ChainID.String()), test.want))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", test.line, info, err)
		}
		if test.want == "x/named.tgz" && info.ModTime().Year() != 2009 {
			t.Errorf("the time is %s", info.ModTime())
		}
		w.clean()
	}
}
