package mount

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want options
	}{
		{nil, options{}},
		{[]string{"defaults", ""}, options{data: []string{""}}},
		{[]string{"ro", "nosuid", "dev"}, options{flags: unix.MS_RDONLY | unix.MS_NOSUID, cleared: unix.MS_NODEV}},
		{[]string{"ro", "rw"}, options{cleared: unix.MS_RDONLY}},
		{[]string{"rw", "ro"}, options{flags: unix.MS_RDONLY}},
		{[]string{"sync", "async", "dirsync"}, options{flags: unix.MS_DIRSYNC}},
		{[]string{"rbind", "rslave", "private"}, options{flags: unix.MS_BIND | unix.MS_REC, propagation: unix.MS_PRIVATE}},
		{
			[]string{"volatile", "lowerdir=/a:/b", `context="a:b,c"`, "index=off", "userxattr"},
			options{data: []string{"volatile", "lowerdir=/a:/b", `context="a:b,c"`, "index=off", "userxattr"}},
		},
		{[]string{"loop", "uidmap=0:1:2", "gidmap=3:4:5"}, options{loop: true, uidmap: "0:1:2", gidmap: "3:4:5"}},
		{[]string{"RO", "loop1", "binder"}, options{data: []string{"RO", "loop1", "binder"}}},
	} {
		got, err := parse(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if diff := cmp.Diff(c.want, *got, cmp.AllowUnexported(options{})); diff != "" {
			t.Errorf("%q: want -, got +:\n%s", c.in, diff)
		}
	}
}
