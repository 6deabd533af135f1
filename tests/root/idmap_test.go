package root_test

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// idmappable makes a directory in a file system whose owners can be mapped.
func idmappable(t *testing.T) string {
	t.Helper()
	harness.NeedKernel(t, 5, 12) // before, they are refused
	dir := t.TempDir()
	harness.Reachable(t, dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC && harness.KernelBefore(t, 6, 3) {
		t.Skip("needs Linux 6.3, or a temporary directory that is no tmpfs: its owners can't be mapped before")
	}
	return dir
}

// owned makes a tree with a mount below: /file of 1000:2000 and /sub/file of 1001:2000.
func owned(t *testing.T) string {
	t.Helper()
	harness.NeedRoot(t)
	dir := idmappable(t)
	for _, name := range []string{"sub", "below"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sub := filepath.Join(dir, "sub")
	if err := unix.Mount(filepath.Join(dir, "below"), sub, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(sub, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for name, uid := range map[string]int{"file": 1000, "sub/file": 1001} {
		write(t, filepath.Join(dir, name), "content\n")
		if err := os.Chown(filepath.Join(dir, name), uid, 2000); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ownedByMappedRoot lets root of a user namespace make mount targets.
func ownedByMappedRoot(t *testing.T) func(rootfs string) {
	return func(rootfs string) {
		t.Helper()
		if err := os.Chown(rootfs, mappedRoot, mappedRoot); err != nil {
			t.Fatal(err)
		}
	}
}

func mapping(inFile, onHost, size uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: inFile, HostID: onHost, Size: size}}
}

const ownersOf = "stat -c '%n %u:%g' /mnt/file /mnt/sub/file"

func TestIDMappedMount(t *testing.T) {
	dir := owned(t)
	maps := func(m specs.Mount) specs.Mount {
		m.UIDMappings, m.GIDMappings = mapping(1000, 7, 10), mapping(2000, 8, 1)
		return m
	}
	recursive := func(options ...string) specs.Mount {
		return specs.Mount{Source: dir, Destination: "/mnt", Options: append([]string{"rbind"}, options...)}
	}
	for _, tc := range []struct {
		name, want string
		mount      specs.Mount
	}{
		{"idmap is for the mount alone", "/mnt/file 7:8\n/mnt/sub/file 1001:2000", maps(recursive("idmap"))},
		{"ridmap is for all below", "/mnt/file 7:8\n/mnt/sub/file 8:8", maps(recursive("ridmap"))},
		{"mappings need no option", "/mnt/file 7:8\n/mnt/sub/file 1001:2000", maps(recursive())},
		{"read-only", "/mnt/file 7:8\n/mnt/sub/file 8:8", maps(recursive("ridmap", "rro"))},
		{"as crun writes it", "/mnt/file 7:8\n/mnt/sub/file 8:8", recursive("ridmap=uids=1000-7-1#1001-8-1;gids=2000-8-1")},
		{"ids without a mapping", "/mnt/file 65534:65534\n/mnt/sub/file 1001:2000", recursive("idmap=uids=0-0-1;gids=0-0-1")},
	} {
		t.Run(tc.name, func(t *testing.T) { expect(t, ownersOf, tc.want, withMounts(tc.mount)) })
	}
	equal(t, "owner on the host", 1000, ownerOf(t, filepath.Join(dir, "file")))
}

// TestIDMappedMountWritesWithTheMappedOwner: who is 7 in the container is 1000 in the file system.
func TestIDMappedMountWritesWithTheMappedOwner(t *testing.T) {
	dir := owned(t)
	if err := os.Chown(dir, 1000, 2000); err != nil {
		t.Fatal(err)
	}
	m := bind(dir, "/mnt", "idmap")
	m.UIDMappings, m.GIDMappings = mapping(1000, 7, 1), mapping(2000, 8, 1)
	expect(t, "echo x >/mnt/new; stat -c %u:%g /mnt/new", "7:8", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, m)
		s.Process.User = specs.User{UID: 7, GID: 8}
	})
	equal(t, "owner on the host", 1000, ownerOf(t, filepath.Join(dir, "new")))
}

func TestIDMappedMountIsReadonlyToo(t *testing.T) {
	dir := owned(t)
	m := bind(dir, "/mnt", "idmap", "ro")
	m.UIDMappings, m.GIDMappings = mapping(1000, 0, 1), mapping(2000, 0, 1)
	expect(t, "touch /mnt/new 2>/dev/null || echo refused", "refused", withMounts(m))
}

func TestIDMappedMountOfTheUserNamespace(t *testing.T) {
	harness.NeedRoot(t)
	dir := idmappable(t)
	write(t, filepath.Join(dir, "file"), "")
	write(t, filepath.Join(dir, "user"), "")
	if err := os.Chown(filepath.Join(dir, "user"), 5, 6); err != nil {
		t.Fatal(err)
	}
	const script = "stat -c %u:%g /plain/file /idmap/file /idmap/user; echo x >/idmap/new; stat -c %u:%g /idmap/new"
	const want = "65534:65534\n0:0\n5:6\n0:0"
	mounts := withMounts(bind(dir, "/plain"), bind(dir, "/idmap", "idmap"))
	t.Run("new", func(t *testing.T) {
		out, _ := inRootfs(t, ownedByMappedRoot(t), script, func(s *specs.Spec) { mapped(s); mounts(s) })
		equal(t, "inside", want, out)
	})
	equal(t, "owner on the host", 0, ownerOf(t, filepath.Join(dir, "new")))
	t.Run("joined", func(t *testing.T) {
		pid := holderOf(t, specs.UserNamespace)
		out, _ := inRootfs(t, ownedByMappedRoot(t), script, func(s *specs.Spec) {
			plain(s, specs.LinuxNamespace{Type: specs.UserNamespace, Path: nsPath(pid, "user")},
				specs.LinuxNamespace{Type: specs.MountNamespace}, specs.LinuxNamespace{Type: specs.PIDNamespace})
			mounts(s)
		})
		equal(t, "inside", want, out)
	})
	t.Run("relative, as crun writes it", func(t *testing.T) {
		out, _ := inRootfs(t, ownedByMappedRoot(t), "stat -c %u:%g /mnt/file", func(s *specs.Spec) {
			mapped(s)
			s.Mounts = append(s.Mounts, bind(dir, "/mnt", "idmap=uids=@0-9-1;gids=@0-8-1"))
		})
		equal(t, "inside", "9:8", out)
	})
}

// TestSourcesKeepTheirPropagation: what the runtime opens on the host must not stay in the
// host's peer group, or a mount in the container would show up there.
func TestSourcesKeepTheirPropagation(t *testing.T) {
	harness.NeedRoot(t)
	dir := idmappable(t)
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	m := bind(dir, "/mnt", "idmap")
	m.UIDMappings, m.GIDMappings = mapping(0, 0, 1), mapping(0, 0, 1)
	for value, want := range map[string]string{"": "master", "rprivate": "", "slave": "master"} {
		edit := func(s *specs.Spec) { s.Linux.RootfsPropagation = value }
		t.Run("idmapped "+value, func(t *testing.T) {
			out := output(t, "cat /proc/self/mountinfo", func(s *specs.Spec) { edit(s); withMounts(m)(s) })
			seen := parseMounts(t, out)["/mnt"]
			equal(t, "propagation", want, seen.propagation())
		})
		t.Run("in a user namespace "+value, func(t *testing.T) {
			out, _ := inRootfs(t, ownedByMappedRoot(t), "cat /proc/self/mountinfo", func(s *specs.Spec) { edit(s); mapped(s); withMounts(bind(dir, "/mnt"))(s) })
			seen := parseMounts(t, out)["/mnt"]
			equal(t, "propagation", want, seen.propagation())
		})
	}
}

func TestIDMapIsRefused(t *testing.T) {
	harness.NeedRoot(t)
	m := bind("/proc", "/mnt", "idmap")
	m.UIDMappings, m.GIDMappings = mapping(0, 1000, 1), mapping(0, 1000, 1)
	t.Run("by the file system", func(t *testing.T) {
		refuse(t, withMounts(m), "mounts[7].source", "cannot have its owners mapped", "invalid argument")
	})
	t.Run("without a user namespace", func(t *testing.T) {
		refuse(t, withMounts(bind("/tmp", "/mnt", "idmap")), "mounts[7]", "uidMappings and gidMappings")
	})
	t.Run("of a tmpfs", func(t *testing.T) {
		refuse(t, withMounts(specs.Mount{Destination: "/mnt", Type: "tmpfs", Options: []string{"idmap"}}), "mounts[7]", "bind mount")
	})
	t.Run("for a user", func(t *testing.T) {
		r := newRootless(t)
		res := r.as("run", "-b", r.bundle("true", withMounts(bind("/tmp", "/mnt", "idmap"))), r.ID("c"))
		wantFailure(t, res, "idmapped", "rootless")
	})
}
