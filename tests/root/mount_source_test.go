package root_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestSourceInTheRootIsWhatEarlierMountsMadeOfIt binds what earlier mounts of the same config
// have put together, from a directory that a mapped root can't enter.
func TestSourceInTheRootIsWhatEarlierMountsMadeOfIt(t *testing.T) {
	harness.NeedRoot(t)
	idmap := func(s *specs.Spec) {
		for i := range s.Mounts {
			if strings.HasPrefix(s.Mounts[i].Source, "rootfs/") || strings.Contains(s.Mounts[i].Source, "/rootfs/") {
				s.Mounts[i].UIDMappings, s.Mounts[i].GIDMappings = mapping(0, mappedRoot, 65536), mapping(0, mappedRoot, 65536)
			}
		}
	}
	for name, edit := range map[string]change{
		"as it is":            func(*specs.Spec) {},
		"in a user namespace": mapped,
		"with owners mapped":  idmap,
		"in a user namespace, with owners mapped": func(s *specs.Spec) { mapped(s); idmap(s) },
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "owners mapped") {
				harness.NeedKernel(t, 5, 12)
			}
			e := harness.New(t)
			outer := t.TempDir()
			harness.Reachable(t, outer)
			secret := filepath.Join(outer, "secret")
			for _, dir := range []string{"a/x", "b/y"} {
				write(t, filepath.Join(secret, dir, "file"), dir+"\n")
			}
			if err := os.Chmod(secret, 0o700); err != nil {
				t.Fatal(err)
			}
			bundle := e.Bundle("cat /final/x/y/file /final/x/y/again/x/y/file", nil)
			rootfs := filepath.Join(bundle, "rootfs")
			for _, dir := range []string{"mnt", "final"} {
				if err := os.Mkdir(filepath.Join(rootfs, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			recursive := func(source, destination string) specs.Mount {
				return specs.Mount{Source: source, Destination: destination, Options: []string{"rbind"}}
			}
			write(t, filepath.Join(secret, "b/y/again/none"), "")
			e.EditConfig(bundle, func(s *specs.Spec) {
				s.Mounts = append(s.Mounts,
					bind(filepath.Join(secret, "a"), "/mnt"),
					bind(filepath.Join(secret, "b"), filepath.Join(rootfs, "mnt/x")), // a destination as the host names it
					recursive(filepath.Join(rootfs, "mnt"), "/mnt/x/y/again"),
					recursive("rootfs/mnt", "/final"))
				edit(s)
			})
			out := strings.Fields(e.MustRun("run", "-b", bundle, e.ID("c")))
			equal(t, "files", []string{"b/y", "b/y"}, out)
		})
	}
}

// TestLockedAttributesOfAHostsMount: in a user namespace what the host made of its mounts can't
// be undone, neither by config.json nor from within, whether the mapped root can reach the
// source or not.
func TestLockedAttributesOfAHostsMount(t *testing.T) {
	harness.NeedRoot(t)
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NOSYMFOLLOW
	const kept = "ro,nosuid,nodev,noexec,noatime"
	for name, mode := range map[string]os.FileMode{"within reach": 0o755, "out of reach": 0o700} {
		outer := t.TempDir()
		harness.Reachable(t, outer)
		dir := filepath.Join(outer, "closed", "volume")
		tmpfs(t, dir, noFlags, unix.MS_PRIVATE)
		if err := errors.Join(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""), os.Chmod(filepath.Dir(dir), mode)); err != nil {
			t.Fatal(err)
		}
		for options, want := range map[string]string{
			"":               kept + ",nosymfollow",
			"ro":             kept,
			"nodiratime":     "", // access times are locked, too
			"noexec,noatime": kept,
			"ro,norelatime":  kept,
			"rw":             "",
			"ro,suid":        "",
			"ro,strictatime": "",
			"ro,dev,exec":    "",
			"ro,nosymfollow": kept + ",nosymfollow",
		} {
			t.Run(name+" "+options, func(t *testing.T) {
				var list []string
				if options != "" {
					list = strings.Split(options, ",")
				}
				edit := func(s *specs.Spec) {
					mapped(s)
					s.Mounts = append(s.Mounts, bind(dir, "/var", list...))
				}
				if want == "" {
					refuse(t, edit, "runc run failed: unable to start container process: error during container init: error mounting ", "mounts[7]: ", "operation not permitted")
					return
				}
				got := parseMounts(t, output(t, "cat /proc/self/mountinfo", edit))["/var"]
				equal(t, "attributes", want, got.options)
			})
		}
		t.Run(name+", remounted from within", func(t *testing.T) {
			script := `for o in rw suid dev exec strictatime; do mount -o remount,bind,ro,nosuid,nodev,noexec,noatime,$o /var 2>/dev/null && echo $o; done
				mount -o remount,bind,ro,nosuid,nodev,noexec,noatime /var && echo kept`
			expect(t, script, "kept", func(s *specs.Spec) {
				mapped(s)
				grant(s, "CAP_SYS_ADMIN")
				s.Mounts = append(s.Mounts, bind(dir, "/var"))
			})
		})
	}
}

// TestMountsWithoutAMountNamespaceAreTheHosts: they are made, as runc does, and stay when the
// container has ended; of a container that does not come to be none is left.
func TestMountsWithoutAMountNamespaceAreTheHosts(t *testing.T) {
	e := harness.New(t)
	outer := t.TempDir()
	tmpfs(t, outer, noFlags, unix.MS_PRIVATE) // nothing spreads from here
	bundle := filepath.Join(outer, "bundle")
	if err := os.CopyFS(bundle, os.DirFS(e.Bundle("grep -c ' /data ' /proc/mounts; tty; test -c /dev/zero && echo device", nil))); err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(bundle, "rootfs")
	below := func() (points []string) {
		for point := range parseMounts(t, hostMounts(t)) {
			if strings.HasPrefix(point+"/", rootfs+"/") {
				points = append(points, point)
			}
		}
		slices.Sort(points)
		return points
	}
	t.Cleanup(func() {
		for _, point := range slices.Backward(below()) {
			if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	})
	e.EditConfig(bundle, func(s *specs.Spec) {
		dropNamespace(s, specs.MountNamespace)
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool {
			return strings.HasPrefix(m.Destination, "/sys") || m.Destination == "/dev/mqueue"
		})
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"nonsense"}})
	})
	wantFailure(t, e.Run("run", "-b", bundle, e.ID("c")), "mounts[4]: mount tmpfs on /data", "invalid argument")
	equal(t, "mounts after the failure", []string(nil), below())
	e.EditConfig(bundle, func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Mounts[len(s.Mounts)-1].Options = nil
	})
	out := strings.Fields(e.MustRun("run", "-b", bundle, e.ID("c")))
	equal(t, "inside", []string{"1", "/dev/pts/0", "device"}, out)
	equal(t, "mounts afterwards", []string{rootfs, rootfs + "/data", rootfs + "/dev", rootfs + "/dev/pts", rootfs + "/dev/shm", rootfs + "/proc"}, below())
}
