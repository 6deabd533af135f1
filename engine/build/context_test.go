package build

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

func TestInside(t *testing.T) {
	for name, want := range map[string]string{
		"a": "/a", "/a": "/a", "a/../b": "/b", "": "/", ".": "/", "/": "/", "a//b/": "/a/b", "...": "/...",
		"..": "", "../a": "", "a/../..": "", "/../a": "", "../context": "/", "../context2": "", "../context/x": "/x",
	} {
		got, err := inside(name)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%q: %q %v, want %q", name, got, err, want)
		}
	}
}

func FuzzInside(f *testing.F) {
	f.Add("../a/./b//c")
	f.Fuzz(func(t *testing.T, name string) {
		if got, err := inside(name); err == nil && (!strings.HasPrefix(got, "/") || strings.Contains(got+"/", "/../")) {
			t.Errorf("%q leads to %q", name, got)
		}
	})
}

func TestCompressedContexts(t *testing.T) {
	w := newWorld(t)
	plain := contextOf(entry{name: "Dockerfile", text: "FROM base\nENV A=1"})
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	_, _ = g.Write(plain.Bytes())
	must(t, g.Close())
	// A client may fill up the last block with a lot of nothing.
	padded := append(bytes.Clone(plain.Bytes()), make([]byte, 1<<20)...)
	for name, body := range map[string][]byte{"plain": plain.Bytes(), "gzip": z.Bytes(), "padded": padded} {
		if _, err := w.build("", Request{Context: bytes.NewReader(body)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string]string{
		"nothing that is known": strings.Repeat("text", 500), "broken gzip": "\x1f\x8b\x08garbage", "broken xz": "\xfd7zXZ\x00garbage",
		"broken bzip2": "BZh9garbage", "half": z.String()[:z.Len()/2],
	} {
		if _, err := w.build("", Request{Context: strings.NewReader(body)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w.clean()
}

func TestLowercaseDockerfile(t *testing.T) {
	w := newWorld(t)
	if _, err := w.build("", Request{Context: contextOf(entry{name: "dockerfile", text: "FROM base\nENV A=1"})}); err != nil {
		t.Error(err)
	}
}

func TestRemote(t *testing.T) {
	answers := map[string]func(rw http.ResponseWriter){
		"/Dockerfile": func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = rw.Write([]byte("FROM base\nENV A=1"))
		},
		"/unnamed": func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "application/octet-stream")
			_, _ = rw.Write([]byte("FROM base\nENV A=1"))
		},
		"/copy":  func(rw http.ResponseWriter) { _, _ = rw.Write([]byte("FROM base\nCOPY a /")) },
		"/wrong": func(rw http.ResponseWriter) { _, _ = rw.Write([]byte("FROM base\nNOTHING")) },
		"/archive": func(rw http.ResponseWriter) {
			_, _ = rw.Write([]byte(packed(entry{name: "Dockerfile", text: "FROM base\nCOPY . /x"})))
		},
		"/no-archive": func(rw http.ResponseWriter) { _, _ = rw.Write([]byte(packed(entry{name: "x"}))) },
		"/html": func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte("<html>"))
		},
		"/empty":  func(http.ResponseWriter) {},
		"/secret": func(rw http.ResponseWriter) { http.Error(rw, "who are you", http.StatusUnauthorized) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if answer, ok := answers[r.URL.Path]; ok {
			answer(rw)
			return
		}
		http.NotFound(rw, r)
	}))
	defer server.Close()
	w := newWorld(t)
	for _, test := range []struct {
		path, want string
		class      error
	}{
		{"/Dockerfile", "", nil},
		{"/unnamed", "", nil},
		{"/archive", "", nil},
		{"/copy", "COPY failed: missing build context", nil},
		{"/wrong", "dockerfile parse error on line 2: unknown instruction: NOTHING", errdefs.ErrInvalidArgument},
		{"/no-archive", "Cannot locate specified Dockerfile: Dockerfile", nil},
		{"/html", `error detecting content type for remote URL/html: unsupported Content-Type "text/html"`, nil},
		{"/empty", "error detecting content type for remote URL/empty: empty response", nil},
		{"/secret", "error downloading remote context URL/secret: failed to GET URL/secret with status 401 Unauthorized: who are you", errdefs.ErrUnauthenticated},
		{"/none", "error downloading remote context URL/none: failed to GET URL/none with status 404 Not Found: 404 page not found", errdefs.ErrNotFound},
	} {
		_, err := w.build("", Request{Remote: server.URL + test.path, Context: strings.NewReader("")})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if want := strings.ReplaceAll(test.want, "URL", server.URL); got != want {
			t.Errorf("%s: %q, want %q", test.path, got, want)
		}
		if class := fault.Class(err); test.class != nil && class != test.class {
			t.Errorf("%s: class %v", test.path, class)
		}
		w.clean()
	}
}

func TestGitAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"git://h/x": true, "git@h:x": true, "github.com/a/b": true, "https://h/x.git": true, "http://h/x.git#b:d": true,
		"https://h/x": false, "https://h/x.git/y": false, "ssh://h/x.git": false, "file:///x.git": false, "ext::sh": false,
	} {
		if isGit(address) != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
	for address, want := range map[string]repository{
		"git://h/x":                    {"git://h/x", "master", ""},
		"https://h/x.git#branch":       {"https://h/x.git", "branch", ""},
		"https://h/x.git#:sub/dir":     {"https://h/x.git", "master", "sub/dir"},
		"https://h/x.git#v1:sub":       {"https://h/x.git", "v1", "sub"},
		"git@h:x.git#b":                {"git@h:x.git", "b", ""},
		"github.com/a/b":               {"https://github.com/a/b", "master", ""},
		"https://h/x.git#--upload=x":   {},
		"https://h/x.git#-b:sub":       {},
		"git://-oProxyCommand=x/x.git": {},
	} {
		got, err := parseRepository(address)
		if want == (repository{}) {
			if err == nil {
				t.Errorf("%s is taken: %+v", address, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", address, got, err)
		}
	}
}

// TestGit clones from a plain web server, which cannot give a part of the history.
func TestGit(t *testing.T) {
	w := newWorld(t)
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	script := `git init -q -b master work && cd work && mkdir sub && echo 'FROM base
COPY f /f' >Dockerfile && echo 'FROM base
ENV SUB=1
COPY . /all' >sub/Dockerfile && echo text >f && ln -s /etc escape && git add . && git -c user.name=n -c user.email=e commit -qm x &&
git branch other && cd .. && git clone -q --bare work x.git && cd x.git && git update-server-info`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s in %s", err, out, work)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	for _, test := range []struct{ fragment, want, err string }{
		{"", "f", ""},
		{"#other", "f", ""},
		{"#:sub", "all/Dockerfile", ""},
		{"#none", "", "error fetching"},
		{"#:none", "", `error setting git context, "none" not within git root`},
		{"#:f", "", "error setting git context, not a directory: f"},
		{"#:../../..", "", "forbidden path"},
		{"#:escape", "", "not within git root"},
	} {
		_, err := w.build("", Request{Remote: server.URL + "/x.git" + test.fragment, Context: strings.NewReader("")})
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %s", test.fragment, err, test.err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.fragment, err)
		default:
			if _, err := os.Stat(filepath.Join(w.folder(w.last().ChainID.String()), test.want)); err != nil {
				t.Errorf("%s: %v", test.fragment, err)
			}
		}
		w.clean()
	}
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{"/a/b": "b", "/a/": "", "/": "", "": "", "/..": "", "/a/.": "", "x\x00": "", "/a/...": "..."} {
		if got := lastPart(name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}
