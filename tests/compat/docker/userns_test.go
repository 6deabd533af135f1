package docker

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUsernsRemap runs the scripts for a daemon whose containers all have a user namespace:
// one that has a mount namespace of its own, where /etc/subuid and /etc/subgid say what the
// test wants, and starts its own containerd in it.
func TestUsernsRemap(t *testing.T) {
	each(t, func(t *testing.T, r *Release) {
		dir := t.TempDir()
		for _, name := range []string{"subuid", "subgid"} { // dockerd looks for the user in both
			if err := os.WriteFile(filepath.Join(dir, name), []byte("nobody:200000:65536\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		const script = `mount --bind "$0/subuid" /etc/subuid && mount --bind "$0/subgid" /etc/subgid && exec "$@"`
		e := Start(t, r, Setup{
			Enter: []string{"unshare", "--mount", "sh", "-c", script, dir},
			Args:  []string{"--userns-remap", "65534:65534"},
		})
		e.Scripts(t, "testdata/userns", nil)
	})
}
