package idmap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"
)

func files(t *testing.T, subuid, subgid string) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "passwd"), filepath.Join(dir, "group"), filepath.Join(dir, "subuid"), filepath.Join(dir, "subgid")}
	for path, content := range map[string]string{
		f.Passwd: "root:x:0:0::/:\nann:x:1000:1000::/:\nbob:x:1001:1001::/:\n",
		f.Group:  "root:x:0:\nann:x:1000:\nstaff:x:50:\n",
		f.SubUID: subuid, f.SubGID: subgid,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestRemap(t *testing.T) {
	f := files(t, "ann:100000:65536\n1000:300000:10\nbob:1:2\nevil:0:10\n", "ann:200000:65536\n")
	ann := user.IdentityMapping{
		UIDMaps: []user.IDMap{{ID: 0, ParentID: 100000, Count: 65536}, {ID: 65536, ParentID: 300000, Count: 10}},
		GIDMaps: []user.IDMap{{ID: 0, ParentID: 200000, Count: 65536}},
	}
	tests := map[string]struct {
		want user.IdentityMapping
		err  string
	}{
		"ann":       {want: ann},
		"1000":      {want: ann},
		"ann:staff": {want: ann},
		"1000:50":   {want: ann},
		"root":      {},
		"0:0":       {},
		"":          {err: `Invalid user/group specification in --userns-remap: ""`},
		"a:b:c":     {err: `Invalid user/group specification in --userns-remap: "a:b:c"`},
		"ann:":      {err: `Invalid user/group specification in --userns-remap: "ann:"`},
		"nobody":    {err: `Error during uid lookup for "nobody"`},
		"77":        {err: "Uid 77 has no entry in "},
		"ann:none":  {err: `Error during gid lookup for "none"`},
		"ann:77":    {err: "Gid 77 has no entry in "},
		"bob":       {err: `Error during gid lookup for "bob"`},
		"bob:staff": {err: `no ranges found for user "bob"`},
		"default":   {err: `Error during "dockremap" user creation`},
	}
	for spec, tt := range tests {
		t.Run(spec, func(t *testing.T) {
			got, err := f.Remap(spec)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPool(t *testing.T) {
	// The second is too short for a piece, the third reaches what no container may have, the fourth would be root's.
	f := files(t, "p:100000:131100\np:500000:65535\np:4294901760:65536\np:0:65536\n", "p:900000:300000\n")
	p, err := f.Pool("p")
	if err != nil {
		t.Fatal(err)
	}
	var taken []user.IdentityMapping
	for _, want := range [][2]int64{{100000, 900000}, {165536, 965536}} {
		m, err := p.Take(taken)
		if err != nil {
			t.Fatal(err)
		}
		if m.UIDMaps[0].ParentID != want[0] || m.GIDMaps[0].ParentID != want[1] || m.UIDMaps[0].Count != Width {
			t.Errorf("got %v, want %v", m, want)
		}
		taken = append(taken, m)
	}
	if _, err := p.Take(taken); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if m, err := p.Take(taken[1:]); err != nil || m.UIDMaps[0].ParentID != 100000 {
		t.Error("what was given back is not taken again: ", m, err)
	}
	for _, name := range []string{"q", ""} {
		if _, err := f.Pool(name); err == nil {
			t.Errorf("%q has ranges", name)
		}
	}
	if _, err := files(t, "p:1:100\n", "p:1:100\n").Pool("p"); err == nil {
		t.Error("a range that is too short is a pool")
	}
}

func TestPolicy(t *testing.T) {
	auto := map[string]string{Label: Auto}
	pool := &Pool{}
	all := user.IdentityMapping{UIDMaps: []user.IDMap{{ParentID: 1, Count: 1}}}
	tests := map[string]struct {
		p           Policy
		host        bool
		labels      map[string]string
		own, shared bool
	}{
		"nothing":            {labels: auto},
		"asked for":          {p: Policy{Pool: pool}, labels: auto, own: true},
		"not asked for":      {p: Policy{Pool: pool}},
		"each":               {p: Policy{Pool: pool, Each: true}, own: true},
		"each, but the host": {p: Policy{Pool: pool, Each: true}, labels: auto, host: true},
		"all":                {p: Policy{All: all}, shared: true},
		"all, but the host":  {p: Policy{All: all}, host: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if own, shared := tt.p.Own(tt.host, tt.labels), tt.p.Shared(tt.host); own != tt.own || shared != tt.shared {
				t.Errorf("own %v, shared %v", own, shared)
			}
		})
	}
}
