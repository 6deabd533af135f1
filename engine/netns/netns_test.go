package netns_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/netns"
)

func TestOpen(t *testing.T) {
	const own = "/proc/self/ns/net"
	var st unix.Stat_t
	if err := unix.Stat(own, &st); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path  string
		inode uint64
		want  error
	}{
		"any":          {own, 0, nil},
		"the right":    {own, st.Ino, nil},
		"another":      {own, st.Ino + 1, unix.ENOENT},
		"no such file": {"/proc/self/ns/nothing", st.Ino, unix.ENOENT},
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := netns.Open(test.path, test.inode)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if err == nil {
				unix.Close(fd)
			}
		})
	}
}
