package root_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func copiedUp(options ...string) specs.Mount {
	return specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: append([]string{"tmpcopyup"}, options...)}
}

// fill makes a directory of every kind of file.
func fill(t *testing.T, dir string, owner int) {
	t.Helper()
	write(t, filepath.Join(dir, "sub", "deep", "file"), "content\n")
	write(t, filepath.Join(dir, "private"), "secret\n")
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	sparse, err := os.OpenFile(at("sparse"), os.O_CREATE|os.O_WRONLY, 0o644)
	must(err, sparse.Truncate(1<<40), sparse.Close())
	large := bytes.Repeat([]byte("0123456789"), 100000)
	must(os.WriteFile(at("large"), large, 0o644), os.WriteFile(at("suid"), large, 0o644))
	must(os.Symlink("/etc/passwd", at("link")), os.Symlink("nowhere", at("dangling")), os.Link(at("large"), at("hard")))
	must(unix.Mkfifo(at("fifo"), 0o640), unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	for _, name := range []string{"sub", "socket", "sub/deep", "sub/deep/file", "large", "sparse"} {
		must(os.Chown(at(name), owner, owner))
	}
	must(os.Chown(dir, owner+3, owner+4), os.Chown(at("suid"), owner+7, owner+8), os.Chown(at("private"), owner+1, owner+2))
	must(os.Lchown(at("link"), owner+5, owner+6), os.Chown(at("fifo"), owner+1, owner+1))
	must(os.Chmod(at("suid"), 0o755|os.ModeSetuid), os.Chmod(at("private"), 0o600), os.Chmod(dir, 0o750|os.ModeSticky))
	must(os.Chmod(at("sub"), 0o711), os.Chtimes(at("sub"), time.Time{}, time.Unix(1e9, 0)))
}

const lookAtCopy = `cd /data; stat -c '%n %F %a %u:%g' . fifo link private socket sub suid
cat sub/deep/file; readlink link; readlink dangling; stat -c '%n %s %Y' sub sparse | sed 's/ [0-9]*$//;t'; stat -c %Y sub
md5sum <large; md5sum <hard; ls | wc -l; echo new >new; touch sub/new`

const wantCopy = `. directory 1750 3:4
fifo fifo 640 1:1
link symbolic link 777 5:6
private regular file 600 1:2
socket socket 600 0:0
sub directory 711 0:0
suid regular file 4755 7:8
content
/etc/passwd
nowhere`

func TestTmpcopyup(t *testing.T) {
	for _, tc := range []struct {
		name  string
		owner int
		edit  change
	}{
		{"as root", 0, func(*specs.Spec) {}},
		{"in a user namespace", mappedRoot, mapped},
		{"in a user namespace that is joined", mappedRoot, func(s *specs.Spec) {
			path := nsPath(holderOf(t, specs.UserNamespace), "user")
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, rootfs := inRootfs(t, func(rootfs string) { fill(t, filepath.Join(rootfs, "data"), tc.owner) }, lookAtCopy, func(s *specs.Spec) {
				tc.edit(s)
				s.Root.Readonly = true // as podman --read-only
				grant(s, "CAP_DAC_OVERRIDE")
				s.Mounts = append(s.Mounts, copiedUp("rprivate", "nosuid", "nodev"))
			})
			if !strings.HasPrefix(out, wantCopy) {
				t.Errorf("copy is\n%s\nwant\n%s", out, wantCopy)
			}
			for _, want := range []string{"1000000000", "sparse 1099511627776"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if sums := strings.Count(out, "  -"); sums != 2 || !strings.HasSuffix(out, "\n10") {
				t.Errorf("sums or number of files: %s", out)
			}
			if _, err := os.Lstat(filepath.Join(rootfs, "data", "new")); err == nil {
				t.Error("what the container wrote is in the root file system")
			}
		})
	}
}

func TestTmpcopyupOfDirectory(t *testing.T) {
	for _, tc := range []struct {
		name, script, want string
		mount              specs.Mount
	}{
		{"that is missing", "stat -c '%a %u' /data; ls /data", "1777 0", copiedUp()},
		{"with a mode of its own", "stat -c '%a %u:%g' /data; cat /data/file", "700 0:0\nx", copiedUp("mode=700")},
		{"with an owner of its own", "stat -c '%u:%g' /data; cat /data/file", "9:8\nx", copiedUp("uid=9", "gid=8")},
		{"read-only", "touch /data/new 2>/dev/null || cat /data/file", "x", copiedUp("ro")},
		{"with a size and a policy", "cat /data/file; mount | grep ' /data ' | tr ',)' '\\n' | grep -e size= -e mpol=", "x\nsize=64k\nmpol=prefer:0", copiedUp("size=64k", "mpol=prefer:0")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if strings.Contains(tc.name, "policy") {
				if _, err := os.Stat("/sys/devices/system/node/node0"); err != nil {
					t.Skip("needs a kernel with NUMA policies: tmpfs has no mpol= here")
				}
			}
			out, _ := inRootfs(t, func(rootfs string) {
				if !strings.Contains(tc.name, "missing") {
					write(t, filepath.Join(rootfs, "data", "file"), "x\n")
				}
			}, tc.script, withMounts(tc.mount))
			equal(t, "inside", tc.want, out)
		})
	}
}

func TestTmpcopyupThatDoesNotFit(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("true", withMounts(copiedUp("size=16k")))
	write(t, filepath.Join(bundle, "rootfs", "data", "file"), strings.Repeat("x", 1<<16))
	wantFailure(t, e.Run("run", "-b", bundle, e.ID("c")), "mounts[7].options", "./file", "no space left on device")
	if left := e.Leftovers(); len(left) > 0 {
		t.Errorf("%v left", left)
	}
}

// TestTmpcopyupIsChargedToTheContainer: an image can't use the host's memory up.
func TestTmpcopyupIsChargedToTheContainer(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("true", func(s *specs.Spec) {
		limit := int64(16 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
		s.Mounts = append(s.Mounts, copiedUp())
	})
	write(t, filepath.Join(bundle, "rootfs", "data", "file"), strings.Repeat("x", 64<<20))
	wantFailure(t, e.Run("run", "-b", bundle, e.ID("c")), "mounts[7].options", "killed")
}

func TestTmpcopyupForAUser(t *testing.T) {
	r := newRootless(t)
	bundle := r.bundle("cat /data/sub/file; stat -c %u:%g /data/sub/file", withMounts(copiedUp()))
	write(t, filepath.Join(bundle, "rootfs", "data", "sub", "file"), "x\n")
	for _, name := range []string{"data", "data/sub", "data/sub/file"} {
		if err := os.Chown(filepath.Join(bundle, "rootfs", name), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "inside", "x\n0:0", r.must("run", "-b", bundle, r.ID("c")))
}

// TestTmpcopyupLeavesOtherMountsOut: what is mounted in the directory is not its content.
func TestTmpcopyupLeavesOtherMountsOut(t *testing.T) {
	out, _ := inRootfs(t, func(rootfs string) { write(t, filepath.Join(rootfs, "data", "file"), "x\n") },
		"ls /data /data/proc", withMounts(specs.Mount{Destination: "/data/proc", Type: "proc", Source: "proc"}, copiedUp()))
	equal(t, "inside", "/data:\nfile\nproc\n\n/data/proc:", out)
}
