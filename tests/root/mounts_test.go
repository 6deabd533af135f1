package root_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// list writes mounts to a file, as `runc mounts` reads them.
func list(t *testing.T, mounts ...specs.Mount) string {
	t.Helper()
	harness.NeedKernel(t, 5, 12) // TestMountsAddIsRefusedByAnOldKernel
	b, err := json.Marshal(mounts)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mounts.json")
	write(t, file, string(b))
	return file
}

// TestMountsAddIsRefusedByAnOldKernel: the container could use a mount before it has its
// attributes.
func TestMountsAddIsRefusedByAnOldKernel(t *testing.T) {
	if !harness.KernelBefore(t, 5, 12) {
		t.Skip("needs Linux 5.10 or 5.11")
	}
	c := start(t, nil)
	file := filepath.Join(t.TempDir(), "mounts.json")
	write(t, file, `[{"destination":"/mnt","source":"/tmp","options":["bind"]}]`)
	wantFailure(t, c.Run("mounts", "add", c.id, file), "mounting in a running container", "needs Linux 5.12")
}

func TestMountsAddAndRemove(t *testing.T) {
	dir := source(t)
	idmapped := bind(dir, "/owned", "idmap")
	idmapped.UIDMappings, idmapped.GIDMappings = mapping(0, 5, 1), mapping(0, 6, 1)
	for name, edit := range map[string]change{"": func(*specs.Spec) {}, " with a user namespace": mapped} {
		t.Run("of a container"+name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle(sleeper, edit)
			write(t, filepath.Join(bundle, "rootfs", "copied", "sub", "file"), "of the image\n")
			ownedByMappedRoot(t)(filepath.Join(bundle, "rootfs"))
			write(t, filepath.Join(bundle, "data", "file"), "beside config.json\n")
			c := startIn(t, e, bundle)
			hostBefore := hostMounts(t)
			before := proc(t, c.pid, "mountinfo")
			mounts := []specs.Mount{
				bind(dir, "/new/deep", "ro"), bind(dir+"/file", "/one"), bind("data", "/relative"), idmapped,
				{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64k", "nosuid", "noexec", "mode=700"}},
				{Destination: "/copied", Type: "tmpfs", Options: []string{"tmpcopyup"}},
				{Destination: "/new/proc", Type: "proc", Source: "proc"},
				bind(dir+"/file", "/proc/uptime"),
			}
			file := list(t, mounts...)
			c.MustRun("mounts", "add", c.id, file)
			seen := mountsOf(t, c.pid)
			for point, options := range map[string]string{
				"/new/deep": "ro,relatime", "/one": "rw,relatime", "/scratch": "rw,nosuid,noexec,relatime", "/copied": "rw,relatime",
				"/new/proc": "rw,relatime", "/proc/uptime": "rw,relatime", "/relative": "rw,relatime",
			} {
				at := seen[point]
				equal(t, point, options, strings.Replace(at.options, "noatime", "relatime", 1)) // of the file system that holds the source
			}
			equal(t, "content", "from the host\nfrom the host\nbeside config.json\nof the image\nfrom the host\n1",
				c.exec("cat /new/deep/file /one /relative/file /copied/sub/file /proc/uptime; cut -d' ' -f1 /new/proc/1/stat"))
			if name == "" {
				equal(t, "owner", "5:6", c.exec("stat -c %u:%g /owned/file"))
			}
			c.MustRun("mounts", "remove", c.id, file)
			equal(t, "mounts as before", before, proc(t, c.pid, "mountinfo"))
			equal(t, "mounts of the host", hostBefore, hostMounts(t))
		})
	}
}

func TestMountsAddToACreatedContainer(t *testing.T) {
	dir := source(t)
	e := harness.New(t)
	id := e.ID("c")
	e.MustRun("create", "-b", e.Bundle("cat /mnt/file >/result", nil), id)
	e.MustRun("mounts", "add", id, list(t, bind(dir, "/mnt")))
	e.MustRun("start", id)
	e.WaitStatus(id, specs.StateStopped)
	wantFailure(t, e.Run("mounts", "add", id, list(t, bind(dir, "/mnt"))), "container not running")
}

// TestMountsAddPropagation: what is added is a slave, as at create.
func TestMountsAddPropagation(t *testing.T) {
	harness.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "top")
	tmpfs(t, dir, noFlags, unix.MS_SHARED)
	c := start(t, func(*specs.Spec) {})
	c.MustRun("mounts", "add", c.id, list(t, bind(dir, "/mnt"), bind(dir, "/private", "rprivate")))
	seen := mountsOf(t, c.pid)
	a, b := seen["/mnt"], seen["/private"]
	equal(t, "by default", "master", a.propagation())
	equal(t, "rprivate", "", b.propagation())
}

// TestMountsAddIsAllOrNothing: when one fails, those before it are gone.
func TestMountsAddIsAllOrNothing(t *testing.T) {
	dir := source(t)
	c := start(t, func(*specs.Spec) {})
	before := proc(t, c.pid, "mountinfo")
	file := list(t, bind(dir, "/first"), specs.Mount{Destination: "/second", Type: "tmpfs"},
		specs.Mount{Destination: "/third", Type: "tmpfs", Options: []string{"nonsense"}})
	wantFailure(t, c.Run("mounts", "add", c.id, file), "mounts[2]", "invalid argument")
	equal(t, "mounts as before", before, proc(t, c.pid, "mountinfo"))
}

func TestMountsAddRefuses(t *testing.T) {
	dir := source(t)
	c := start(t, func(*specs.Spec) {})
	before := proc(t, c.pid, "mountinfo")
	for name, tc := range map[string]struct {
		mount specs.Mount
		words []string
	}{
		"a source that is missing": {bind("/nowhere", "/mnt"), []string{"mounts[0].source", "no such file"}},
		"the root":                 {bind(dir, "/x/.."), []string{"mounts[0].destination", "root"}},
		"a path inside /proc":      {bind(dir, "/proc/self"), []string{"mounts[0].destination", "inside /proc"}},
		"a path through a symlink": {bind(dir, "/proc2/self"), []string{"mounts[0]", "too many levels of symbolic links"}},
		"a remount":                {specs.Mount{Destination: "/proc/sys", Options: []string{"remount", "rw"}}, []string{"mounts[0]", "remount"}},
		"a cgroup mount":           {specs.Mount{Destination: "/mnt", Type: "cgroup"}, []string{"mounts[0].type", "cgroup"}},
		"a symlink to copy":        {bind(dir, "/mnt", "copy-symlink"), []string{"mounts[0].options", "copy-symlink"}},
		"a tmpfs on /proc":         {specs.Mount{Destination: "/proc", Type: "tmpfs"}, []string{"mounts[0].destination", "not of type proc"}},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "symlink") {
				_ = os.Symlink("/proc", filepath.Join(c.bundle, "rootfs", "proc2"))
			}
			wantFailure(t, c.Run("mounts", "add", c.id, list(t, tc.mount)), tc.words...)
		})
	}
	for name, tc := range map[string]struct{ destination, words string }{
		"the root":                 {"/", "root"},
		"what is not mounted":      {"/tmp", "invalid argument"},
		"what is not there":        {"/nowhere/at", "no such file"},
		"a mask":                   {"/proc/kcore", "inside /proc"},
		"another mask":             {"/sys/firmware", "linux.maskedPaths"},
		"nothing":                  {"", "must not be empty"},
		"a path through a symlink": {"/proc2/kcore", "too many levels of symbolic links"},
	} {
		t.Run("to remove "+name, func(t *testing.T) {
			wantFailure(t, c.Run("mounts", "remove", c.id, list(t, specs.Mount{Destination: tc.destination})), "mounts[0].destination", tc.words)
		})
	}
	equal(t, "mounts as before", before, proc(t, c.pid, "mountinfo"))
}

func TestMountsWithoutAMountNamespace(t *testing.T) {
	c := start(t, func(s *specs.Spec) {
		plain(s, specs.LinuxNamespace{Type: specs.PIDNamespace})
	})
	before := hostMounts(t)
	wantFailure(t, c.Run("mounts", "add", c.id, list(t, bind("/tmp", "/mnt"))), "no mount namespace of its own")
	equal(t, "mounts of the host", before, hostMounts(t))
}

func TestMountsForAUser(t *testing.T) {
	r := newRootless(t)
	id, pid := r.running(nil)
	before := proc(t, pid, "mountinfo")
	file := list(t, specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"size=64k", "tmpcopyup"}})
	harness.Reachable(t, filepath.Dir(file))
	r.must("mounts", "add", id, file)
	seen := mountsOf(t, pid)["/tmp"]
	equal(t, "/tmp", "tmpfs", seen.fstype)
	r.must("mounts", "remove", id, file)
	equal(t, "mounts as before", before, proc(t, pid, "mountinfo"))
	file = list(t, bind(r.home, "/mnt"))
	harness.Reachable(t, filepath.Dir(file))
	wantFailure(t, r.as("mounts", "add", id, file), "mounts[0].source", "operation not permitted")
	r.finish(id)
}
