package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// What the runtime copies out of an image (tmpcopyup), and what it mounts in a container
// that runs and may be hostile (runc mounts).

func copiedUp(destination string) specs.Mount {
	m := tmpfs(destination)
	m.Options = append(m.Options, "tmpcopyup")
	return m
}

func TestCopyUpFollowsNothing(t *testing.T) {
	e, host := harness.New(t), canary(t)
	bundle := e.Bundle("cat /data/secret /data/dir/secret /data/up 2>/dev/null; readlink /data/secret", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, copiedUp("/data"))
	})
	data := filepath.Join(bundle, "rootfs", "data")
	mkdir(t, data)
	link(t, filepath.Join(host, "secret"), filepath.Join(data, "secret"))
	link(t, host, filepath.Join(data, "dir"))
	link(t, strings.Repeat("../", 20)+host+"/secret", filepath.Join(data, "up"))
	answers(t, e, bundle, filepath.Join(host, "secret"))
}

func TestCopyUpOfALinkToTheHost(t *testing.T) {
	e, host := harness.New(t), canary(t)
	bundle := e.Bundle("ls /data/; grep -c attacked /proc/self/mountinfo", func(s *specs.Spec) { s.Mounts = append(s.Mounts, copiedUp("/data")) })
	link(t, host, filepath.Join(bundle, "rootfs/data"))
	mkdir(t, filepath.Join(bundle, "rootfs", host, "inside"))
	answers(t, e, bundle, "inside\n1")
}

// TestCopyUpOpensNoFIFO: to open one would wait for its writer, for ever.
func TestCopyUpOpensNoFIFO(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("ls /data", func(s *specs.Spec) { s.Mounts = append(s.Mounts, copiedUp("/data")) })
	data := filepath.Join(bundle, "rootfs", "data")
	mkdir(t, data)
	if err := unix.Mkfifo(filepath.Join(data, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	answers(t, e, bundle, "fifo")
}

// TestCopyUpOfATreeWithoutEnd: a tree may be deeper than descriptors or stack would last.
func TestCopyUpOfATreeWithoutEnd(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("true", func(s *specs.Spec) { s.Mounts = append(s.Mounts, copiedUp("/data")) })
	deep := filepath.Join(bundle, "rootfs", "data")
	mkdir(t, deep)
	fd, err := unix.Open(deep, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range 3000 {
		if err != nil {
			t.Fatal(err)
		}
		if err = unix.Mkdirat(fd, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, openErr := unix.Openat(fd, "d", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		fd, err = next, openErr
	}
	_ = unix.Close(fd)
	refused(t, e, bundle, "file name too long")
}

// TestCopyUpOfWhatASecondContainerSwaps: on a shared volume, a file turns into a link to
// the host and back.
func TestCopyUpOfWhatASecondContainerSwaps(t *testing.T) {
	e, host, volume := harness.New(t), canary(t), t.TempDir()
	bundle := e.Bundle("cd /vol; [ -L file ] || cat file; [ -L dir ] || ls dir", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(volume, "/vol"), copiedUp("/vol"))
	})
	write(t, filepath.Join(volume, "file"), "of the volume\n")
	link(t, filepath.Join(host, "secret"), filepath.Join(volume, "link"))
	mkdir(t, filepath.Join(volume, "dir"))
	link(t, host, filepath.Join(volume, "away"))
	swapper(t, filepath.Join(volume, "file"), filepath.Join(volume, "link"))
	swapper(t, filepath.Join(volume, "dir"), filepath.Join(volume, "away"))
	race(t, e, bundle, func(stdout string) string {
		if strings.Contains(stdout, "canary") || strings.Contains(stdout, "kept") {
			return "what is on the host was copied: " + stdout
		}
		return ""
	})
}

// changes runs `runc mounts`.
func changes(t *testing.T, e *harness.Env, verb, id string, mounts ...specs.Mount) harness.Result {
	t.Helper()
	harness.NeedKernel(t, 5, 12)
	b, err := json.Marshal(mounts)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mounts.json")
	write(t, file, string(b))
	return e.Run("mounts", verb, id, file)
}

func mountsOf(t *testing.T, e *harness.Env, id string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", e.State(id).Pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMountsRemoveTakesNoProtectionAway: the container puts a link in the place of a
// directory, so that the path of the mount to be removed is now that of its read-only
// /proc/sys.
func TestMountsRemoveTakesNoProtectionAway(t *testing.T) {
	e := harness.New(t)
	id, _ := sleeper(t, e, func(*specs.Spec) {})
	volume := bind(t.TempDir(), "/data/sys")
	if r := changes(t, e, "add", id, volume); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	e.MustRun("exec", id, "sh", "-c", "mv /data /moved && ln -s /proc /data")
	before := mountsOf(t, e, id)
	if !strings.Contains(before, " /proc/sys ro,") {
		t.Fatalf("no mount protects /proc/sys: %s", before)
	}
	r := changes(t, e, "remove", id, volume)
	if r.Code == 0 || !strings.Contains(r.Stderr, "too many levels of symbolic links") {
		t.Errorf("exit %d, %s", r.Code, r.Stderr)
	}
	if after := mountsOf(t, e, id); after != before {
		t.Errorf("a mount is gone: before\n%s\nafter\n%s", before, after)
	}
}

// TestMountsAddIsNotLedAstray: a mount goes where it was asked for, or nowhere, while the
// container swaps the target, and a directory on the way, for links to its /proc.
func TestMountsAddIsNotLedAstray(t *testing.T) {
	e := harness.New(t)
	id, bundle := sleeper(t, e, func(*specs.Spec) {})
	install(t, bundle)
	rootfs := filepath.Join(bundle, "rootfs")
	mkdir(t, filepath.Join(rootfs, "vol", "dir", "sys"))
	link(t, "/proc", filepath.Join(rootfs, "vol", "link"))
	swapper(t, filepath.Join(rootfs, "vol", "dir"), filepath.Join(rootfs, "vol", "link"))
	volume := filepath.Join(t.TempDir(), "attacked")
	mkdir(t, volume)
	added, tries := 0, 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		m := tmpfs("/vol/dir/sys")
		if tries++; tries%2 == 0 {
			m = bind(volume, "/vol/dir/sys")
		}
		if r := changes(t, e, "add", id, m); r.Code != 0 {
			continue
		}
		added++
		for line := range strings.Lines(mountsOf(t, e, id)) {
			point := strings.Fields(line)[4]
			if strings.Contains(line, "attacked") && (point == "/proc/sys" || !strings.HasPrefix(point, "/vol/")) {
				t.Fatalf("mounted at %s", point)
			}
		}
	}
	t.Logf("%d of %d mounts were added", added, tries)
}
