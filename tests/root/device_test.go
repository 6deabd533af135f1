package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestDefaultDevices(t *testing.T) {
	expect(t, "cd /dev; stat -c '%n %F %t:%T %a %u:%g' full null random tty urandom zero", `
full character special file 1:7 666 0:0
null character special file 1:3 666 0:0
random character special file 1:8 666 0:0
tty character special file 5:0 666 0:0
urandom character special file 1:9 666 0:0
zero character special file 1:5 666 0:0`, nil)
}

func TestDefaultDevicesWork(t *testing.T) {
	expect(t, `echo lost >/dev/null && head -c 2 /dev/zero | od -An -tx1 && head -c 4 /dev/urandom | wc -c && head -c 4 /dev/random | wc -c
		echo x 2>/dev/null >/dev/full || echo full`, " 00 00\n4\n4\nfull", nil)
}

func TestDevLinks(t *testing.T) {
	expect(t, "cd /dev; for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; ls /dev | grep -v core", `
fd /proc/self/fd
stdin /proc/self/fd/0
stdout /proc/self/fd/1
stderr /proc/self/fd/2
ptmx pts/ptmx
fd
full
mqueue
null
ptmx
pts
random
shm
stderr
stdin
stdout
tty
urandom
zero`, nil)
}

func TestConfiguredDevices(t *testing.T) {
	expect(t, "stat -c '%n %F %t:%T %a %u:%g' /dev/blk /dev/chr /dev/unbuffered /dev/null /made/fifo; stat -c %a /made", `
/dev/blk block special file 7:63 640 1:2
/dev/chr character special file 1:b 600 0:0
/dev/unbuffered character special file 1:3 666 0:0
/dev/null character special file 1:3 622 3:4
/made/fifo fifo 0:0 1644 5:6
755`, func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/blk", Type: "b", Major: 7, Minor: 99, FileMode: new(os.FileMode(0o640)), UID: new(uint32(1)), GID: new(uint32(2))},
			{Path: "/dev/chr", Type: "c", Major: 1, Minor: 11, FileMode: new(os.FileMode(0o600))},
			{Path: "/dev/unbuffered", Type: "u", Major: 1, Minor: 3},
			{Path: "/dev/null", Type: "c", Major: 1, Minor: 3, FileMode: new(os.FileMode(0o622)), UID: new(uint32(3)), GID: new(uint32(4))},
			{Path: "/made/fifo", Type: "p", FileMode: new(os.FileMode(0o1644)), UID: new(uint32(5)), GID: new(uint32(6))},
		}
	})
}

// rareDevice is one that nobody gets without asking, and that opens for root without any
// further capability: loop-control.
const rareMajor, rareMinor = 10, 237

func needRareDevice(t *testing.T) {
	t.Helper()
	harness.NeedRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("the kernel has no loop devices")
	}
}

func TestDeviceRules(t *testing.T) {
	needRareDevice(t)
	const try = `for how in r w; do
		if [ $how = r ]; then (exec 3</dev/rare); else (exec 3>/dev/rare); fi 2>/dev/null && echo $how; done; true`
	allow := func(access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: new(int64(rareMajor)), Minor: new(int64(rareMinor)), Access: access}
	}
	deny := specs.LinuxDeviceCgroup{Allow: false, Access: "rwm"}
	for _, tc := range []struct {
		name, want string
		rules      []specs.LinuxDeviceCgroup
	}{
		{"missing rules deny", "", nil},
		{"deny all", "", []specs.LinuxDeviceCgroup{deny}},
		{"allow to read", "r", []specs.LinuxDeviceCgroup{deny, allow("r")}},
		{"allow both", "r\nw", []specs.LinuxDeviceCgroup{deny, allow("rw")}},
		{"a later rule counts", "", []specs.LinuxDeviceCgroup{deny, allow("rw"), {Allow: false, Type: "c", Major: new(int64(rareMajor)), Minor: new(int64(rareMinor)), Access: "rw"}}},
		{"any minor", "r", []specs.LinuxDeviceCgroup{deny, {Allow: true, Type: "c", Major: new(int64(rareMajor)), Access: "r"}}},
		{"allow all", "r\nw", []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expect(t, try, tc.want, func(s *specs.Spec) {
				s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/rare", Type: "c", Major: rareMajor, Minor: rareMinor}}
				s.Linux.Resources = &specs.LinuxResources{Devices: tc.rules}
			})
		})
	}
}

func TestDeviceRulesHoldForNodesMadeInside(t *testing.T) {
	needRareDevice(t)
	expect(t, "mknod /tmp/rare c 10 237 && cat /tmp/rare 2>&1 | head -1; mknod /tmp/null c 1 3 && echo x >/tmp/null && echo ok",
		"cat: can't open '/tmp/rare': Operation not permitted\nok", func(s *specs.Spec) { grant(s, "CAP_MKNOD") })
}

func TestMknodNeedsItsCapability(t *testing.T) {
	expect(t, "mknod /tmp/null c 1 3 2>&1 || true", "mknod: /tmp/null: Operation not permitted", nil)
}

func TestHostDevIsLeftAlone(t *testing.T) {
	harness.NeedRoot(t)
	dev := t.TempDir()
	write(t, filepath.Join(dev, "mine"), "")
	c := start(t, func(s *specs.Spec) {
		var mounts []specs.Mount
		for _, m := range s.Mounts {
			if !strings.HasPrefix(m.Destination, "/dev") {
				mounts = append(mounts, m)
			}
		}
		s.Mounts = append(mounts, bind(dev, "/dev", "rw"))
	})
	equal(t, "the container's /dev", "mine", c.exec("ls /dev"))
	entries, err := os.ReadDir(dev)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "entries on the host", 1, len(entries))
}

func TestConfiguredDeviceTheImageAlreadyHas(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("cat /dev/null; stat -c %F /dev/null", func(s *specs.Spec) {
		var mounts []specs.Mount
		for _, m := range s.Mounts {
			if !strings.HasPrefix(m.Destination, "/dev") {
				mounts = append(mounts, m)
			}
		}
		s.Mounts = mounts
	})
	rootfs := filepath.Join(bundle, "rootfs")
	r := e.Run("run", "-b", bundle, e.ID("c"))
	equal(t, "output", "character special file\n", r.Stdout)
	info, err := os.Lstat(filepath.Join(rootfs, "dev", "null"))
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("/dev/null of an image without a mount there: %v, %v", info, err)
	}
}
