package launch

import (
	"slices"
	"testing"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestSuperOptions(t *testing.T) {
	for _, c := range []struct {
		data string
		set  plan.MountFlag
		want []string
	}{
		{"", 0, nil},
		{"", plan.ReadOnly | plan.NoSuid, nil}, // of the mount, not of the file system
		{"mode=755,size=64k", plan.FSSync | plan.FSDirSync | plan.FSLazyTime, []string{"sync", "dirsync", "lazytime", "mode=755", "size=64k"}},
		{"noswap,,mpol=bind:0,2-3,inode64", 0, []string{"noswap", "mpol=bind:0,2-3", "inode64"}},
		{`size=1k,context="system_u:object_r:container_file_t:s0:c1,c2",mode=1`, 0, []string{"size=1k", "context=system_u:object_r:container_file_t:s0:c1,c2", "mode=1"}},
	} {
		got := superOptions(&plan.MakeFilesystem{Data: c.data, Flags: plan.MountFlags{Set: c.set}})
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.data, got, c.want)
		}
	}
}
