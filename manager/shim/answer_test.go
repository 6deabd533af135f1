package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/gantry-containers/gantry/manager/bundle"
)

func TestParseAnswer(t *testing.T) {
	binary := func(r *bootapi.BootstrapResult) []byte {
		data, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	answer := func(version int32, address string) *bootapi.BootstrapResult {
		return &bootapi.BootstrapResult{Version: version, Address: address, Protocol: "ttrpc"}
	}
	for name, c := range map[string]struct {
		text []byte
		want *bootapi.BootstrapResult
	}{
		"plain":            {[]byte("unix:///run/containerd/s/0123"), answer(2, "unix:///run/containerd/s/0123")},
		"with a newline":   {[]byte("unix:///s\n"), answer(2, "unix:///s")},
		"abstract":         {[]byte("/containerd-shim/default/c/shim.sock"), answer(2, "/containerd-shim/default/c/shim.sock")},
		"JSON":             {[]byte(`{"version":3,"address":"unix:///s","protocol":"ttrpc"}`), answer(3, "unix:///s")},
		"JSON, old":        {[]byte(`{"address":"unix:///s"}`), answer(2, "unix:///s")},
		"protobuf":         {binary(answer(3, "unix:///s")), answer(3, "unix:///s")},
		"protobuf, little": {binary(&bootapi.BootstrapResult{Version: 3, Address: "unix:///s"}), answer(3, "unix:///s")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseAnswer(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, text := range []string{"unix:///s", `{"version":3,"address":"unix:///s"}`, "\x08\x03\x12\x09unix:///s\x1a\x05ttrpc", ""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		answer, err := parseAnswer(text)
		if err != nil {
			return
		}
		if name, err := socketName(answer.Address); err != nil || name == "" || len(name) > maxPath {
			t.Errorf("%q: the socket %q, %v", text, name, err)
		}
	})
}

// The socket is beside the bundles, unless that is too long for it.
func TestSocketDir(t *testing.T) {
	for state, want := range map[string]string{
		"/run/gantry":                 "/run/gantry/s",
		"/" + strings.Repeat("x", 38): "/" + strings.Repeat("x", 38) + "/s",
		"/" + strings.Repeat("x", 39): "/run/containerd/s",
	} {
		b := bundle.Store{State: state}.Get("default", "c")
		if got := New(Config{}).socketDir(b); got != want {
			t.Errorf("%s: got %s", state, got)
		}
	}
}

// Shims of all kinds put their sockets there: the hashes are of shim/bootstrap's test, and that of a group.
func TestUsualAddress(t *testing.T) {
	l := New(Config{Address: "/run/containerd/containerd.sock"})
	b := &bundle.Bundle{Namespace: "default", ID: "c", Path: filepath.Join(t.TempDir(), "a", "b", "c")}
	const hash = "9cb583b155a36d5eb6ede9fb14dbf6eb7e8a23b3e803e95a337ba133e3043d85"
	var got []string
	for _, a := range l.usualAddress(b) {
		got = append(got, a.Address)
	}
	if diff := cmp.Diff([]string{"unix://" + l.socketDir(b) + "/" + hash, "unix:///run/containerd/s/" + hash}, got); diff != "" {
		t.Error(diff)
	}
	b.ID = "another"
	if err := os.MkdirAll(b.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	config := `{"annotations":{"io.kubernetes.cri.sandbox-id":"x","io.containerd.runc.v2.group":"c"}}`
	if err := os.WriteFile(filepath.Join(b.Path, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := l.usualAddress(b)[1].Address; got != "unix:///run/containerd/s/"+hash {
		t.Errorf("the group's is %s", got)
	}
}
