package plan

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer/idmap"
)

// specTable reads the option names of config.md "Linux mount options" out of the very
// version of the spec that the tree is built with.
func specTable(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), `name="configLinuxMountOptions"`)
	section, _, _ = strings.Cut(section, "\n[^1]:")
	var names []string
	for line := range strings.Lines(section) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "`"); ok {
			name, _, _ := strings.Cut(rest, "`")
			names = append(names, strings.TrimSpace(name))
		}
	}
	if len(names) < 60 {
		t.Fatalf("only %d options found in the table", len(names))
	}
	return names
}

func TestEveryOptionOfTheSpecIsRecognised(t *testing.T) {
	for _, name := range specTable(t) {
		o := parseMountOptions([]string{name})
		if len(o.data) > 0 {
			t.Errorf("%s would go to the file system, which does not know it", name)
		}
	}
}

func TestMountOptions(t *testing.T) {
	for _, c := range []struct {
		name, options string
		want          mountOptions
	}{
		{name: "nothing asks for nothing", options: ",defaults"},
		{name: "the later of two opposites counts", options: "ro,rw", want: mountOptions{flags: MountFlags{Clear: ReadOnly}}},
		{name: "and in the other order", options: "suid,nosuid", want: mountOptions{flags: MountFlags{Set: NoSuid}}},
		{name: "access time modes exclude each other", options: "noatime,strictatime,relatime", want: mountOptions{flags: MountFlags{Set: RelAtime}}},
		{name: "recursive ones too", options: "rnoatime,rstrictatime", want: mountOptions{flags: MountFlags{RecSet: StrictAtime}}},
		{name: "recursive options leave the others alone", options: "ro,rrw,nodev,rdev", want: mountOptions{flags: MountFlags{Set: ReadOnly | NoDev, RecClear: ReadOnly | NoDev}}},
		{name: "file system flags have no recursive form", options: "rsync,rmand", want: mountOptions{data: []string{"rsync", "rmand"}}},
		{
			name: "a flag that is taken back", options: "sync,async,lazytime,nolazytime,mand,nomand,iversion,noiversion,silent,loud",
			want: mountOptions{flags: MountFlags{Clear: FSSync | FSLazyTime | FSMandatoryLock | FSVersion | FSSilent}},
		},
		{name: "bind is no data", options: "bind", want: mountOptions{bind: true}},
		{name: "rbind is recursive", options: "rbind", want: mountOptions{bind: true, recursive: true}},
		{name: "remount", options: "remount,noexec", want: mountOptions{remount: true, flags: MountFlags{Set: NoExec}}},
		{name: "propagation in order", options: "private,rshared", want: mountOptions{flags: MountFlags{Propagation: []Propagation{Private, RecShared}}}},
		{name: "unchanged is no option", options: "unchanged", want: mountOptions{data: []string{"unchanged"}}},
		{name: "what is left goes to the file system", options: "size=1k,ro,mode=755", want: mountOptions{flags: MountFlags{Set: ReadOnly}, data: []string{"size=1k", "mode=755"}}},
		{name: "owners", options: "size=1k,ridmap", want: mountOptions{data: []string{"size=1k"}, idmapped: true, idmap: idmap.Option{Recursive: true}}},
		{name: "owners, by crun's mapping", options: "idmap=uids=0-1-2;gids=3-4-5", want: mountOptions{idmapped: true, idmap: idmap.Option{Value: "uids=0-1-2;gids=3-4-5"}}},
		{name: "a name that begins alike", options: "idmapped", want: mountOptions{data: []string{"idmapped"}}},
		{name: "how to mount", options: "tmpcopyup,src-nofollow,dest-nofollow,copy-symlink", want: mountOptions{copyUp: true, sourceNoFollow: true, targetNoFollow: true, copySymlink: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parseMountOptions(strings.Split(c.options, ","))
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(mountOptions{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.options, diff)
			}
		})
	}
}

func TestPropagation(t *testing.T) {
	for p := Private; p <= RecUnbindable; p++ {
		if got := propagationOption(p.String()); got != p {
			t.Errorf("%s is read as %s", p, got)
		}
		if name := strings.TrimPrefix(p.String(), "r"); p.Base().String() != name || p.Base().Recursive() {
			t.Errorf("the base of %s is %s", p, p.Base())
		}
		if p.Recursive() != strings.HasPrefix(p.String(), "r") {
			t.Errorf("%s: recursive is %v", p, p.Recursive())
		}
	}
}
