package attack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Devices, terminals, masks, and an image that has its own idea of /dev.

func TestGHSA_g54h_m393_cpwq_NoDeviceRuleMeansNo(t *testing.T) {
	script := forbiddenDevice(t)
	for name, resources := range map[string]*specs.LinuxResources{
		"no resources at all":  nil,
		"no rules":             {},
		"an empty list":        {Devices: []specs.LinuxDeviceCgroup{}},
		"a rule for something": {Devices: []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Access: "rwm"}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			r := e.Run("run", "--bundle", e.Bundle(script, func(s *specs.Spec) {
				withCaps(s)
				s.Linux.Resources = resources
			}), e.ID("c"))
			if r.Code == 0 || !strings.Contains(r.Stderr, "Operation not permitted") {
				t.Errorf("exit %d, stderr %q: a device of the host could be opened", r.Code, r.Stderr)
			}
		})
	}
	e := harness.New(t)
	answers(t, e, e.Bundle(script, func(s *specs.Spec) {
		withCaps(s)
		s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
	}), "") // with the rule it opens: the refusals above are the rules'
}

// forbiddenDevice is a script that makes and opens a device which containers don't get: a
// disk, or what of this kind the machine has and lets its own root open.
func forbiddenDevice(t *testing.T) string {
	t.Helper()
	for _, dev := range []string{"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", "/dev/zram0", "/dev/fuse", "/dev/loop-control", "/dev/vsock"} {
		fd, err := unix.Open(dev, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		_ = unix.Close(fd)
		if err != nil {
			continue
		}
		kind := map[bool]string{true: "b", false: "c"}[st.Mode&unix.S_IFMT == unix.S_IFBLK]
		return fmt.Sprintf("mknod /device %s %d %d && : </device", kind, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	t.Skip("no device to try with")
	return ""
}

func TestCVE_2025_31133_MaskedPathsAreHiddenByTheRealNull(t *testing.T) {
	mask := func(s *specs.Spec) {
		unmounted(s, "/dev")
		s.Linux.MaskedPaths = []string{"/secret", "/hidden"}
	}
	t.Run("/dev/null is a link in the image", func(t *testing.T) {
		e := harness.New(t)
		bundle := e.Bundle("echo x >/secret; cat /secret; stat -c %t:%T /secret; ls /hidden; touch /hidden/x 2>/dev/full || echo read-only", mask)
		rootfs := filepath.Join(bundle, "rootfs")
		write(t, filepath.Join(rootfs, "secret"), "secret\n")
		write(t, filepath.Join(rootfs, "hidden"), "")
		if err := os.Remove(filepath.Join(rootfs, "hidden")); err != nil {
			t.Fatal(err)
		}
		mkdir(t, filepath.Join(rootfs, "hidden/inside"))
		link(t, "/etc/passwd", filepath.Join(rootfs, "dev/null"))
		answers(t, e, bundle, "1:3\nread-only")
	})
	t.Run("/dev/null comes and goes on a shared volume", func(t *testing.T) {
		e, volume := harness.New(t), t.TempDir()
		bundle := e.Bundle("stat -c %t:%T /secret", func(s *specs.Spec) {
			mask(s)
			s.Mounts = append(s.Mounts, bind(volume, "/dev"))
		})
		write(t, filepath.Join(bundle, "rootfs/secret"), "secret\n")
		if err := unix.Mknod(filepath.Join(volume, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
		link(t, "/proc/sys/kernel/core_pattern", filepath.Join(volume, "link"))
		swapper(t, filepath.Join(volume, "null"), filepath.Join(volume, "link"))
		race(t, e, bundle, func(stdout string) string {
			if stdout != "1:3\n" {
				return "the mask is not the null device"
			}
			return ""
		})
	})
}

func TestCVE_2026_41579_DevIsALinkInTheImage(t *testing.T) {
	e, host := harness.New(t), canary(t)
	bundle := e.Bundle("true", func(s *specs.Spec) { unmounted(s, "/dev") })
	link(t, host, filepath.Join(bundle, "rootfs/dev"))
	e.Run("run", "--bundle", bundle, e.ID("dangling"))
	mkdir(t, filepath.Join(bundle, "rootfs", host)) // what the link leads to inside
	answers(t, e, bundle, "")
	if _, err := os.Lstat(filepath.Join(bundle, "rootfs", host, "ptmx")); err != nil {
		t.Errorf("the links were not made inside, so the test proves nothing: %v", err)
	}
}

// consoleSocket accepts terminals until the test ends. What they print goes to the channel.
func consoleSocket(t *testing.T) (string, <-chan string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "console")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	output := make(chan string, 2*launches)
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			text := ""
			for _, fd := range receive(conn) {
				text += drain(fd)
			}
			_ = conn.Close()
			output <- text
		}
	}()
	return socket, output
}

// drain reads a terminal's master to its end, which is EIO.
func drain(fd int) string {
	defer unix.Close(fd)
	var all []byte
	b := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return strings.ReplaceAll(string(all), "\r\n", "\n")
		}
		all = append(all, b[:n]...)
	}
}

// onTerminal creates and starts a container with a terminal, and returns what it printed.
func onTerminal(e *harness.Env, bundle, socket string, output <-chan string) (string, harness.Result) {
	id := e.ID("c")
	r := e.Run("create", "--bundle", bundle, "--console-socket", socket, id)
	if r.Code != 0 {
		<-output
		return "", r
	}
	e.MustRun("start", id)
	text := <-output
	e.MustRun("delete", "--force", id)
	return text, r
}

func terminal(s *specs.Spec) { s.Process.Terminal = true }

func TestCVE_2026_88264_ConsoleIsALinkInTheImage(t *testing.T) {
	e, host := harness.New(t), canary(t)
	socket, output := consoleSocket(t)
	bundle := e.Bundle("true", func(s *specs.Spec) {
		terminal(s)
		for i := range s.Mounts { // an image's /dev, with nothing of ours but /dev/pts
			if s.Mounts[i].Destination == "/dev" {
				s.Mounts[i].Destination = "/elsewhere"
			}
		}
	})
	rootfs := filepath.Join(bundle, "rootfs")
	for name, target := range map[string]string{
		"an existing file of the host": filepath.Join(host, "secret"),
		"a file to be made":            filepath.Join(host, "new"),
	} {
		t.Run(name, func(t *testing.T) {
			link(t, target, filepath.Join(rootfs, "dev/console"))
			mkdir(t, filepath.Join(rootfs, host))
			write(t, filepath.Join(rootfs, host, "secret"), "")
			_, r := onTerminal(e, bundle, socket, output)
			if r.Code == 0 || !strings.Contains(r.Stderr, "too many levels of symbolic links") {
				t.Errorf("exit %d, stderr %q, want a refusal to follow the link", r.Code, r.Stderr)
			}
		})
	}
}

func TestCVE_2026_88265_StdioIsLeftAlone(t *testing.T) {
	e, host := harness.New(t), canary(t)
	bundle := e.Bundle("true", func(s *specs.Spec) {
		unmounted(s, "/dev")
		s.Process.User.UID = 1000
	})
	link(t, filepath.Join(host, "secret"), filepath.Join(bundle, "rootfs/dev/null"))
	answers(t, e, bundle, "")
}

func TestCVE_2025_52565_TheConsoleIsTheTerminal(t *testing.T) {
	e, host, volume := harness.New(t), canary(t), t.TempDir()
	socket, output := consoleSocket(t)
	bundle := e.Bundle("stat -L -c %t /proc/self/fd/0; grep -c ' - devpts ' /proc/self/mountinfo; true", func(s *specs.Spec) {
		terminal(s)
		unmounted(s, "/dev")
		s.Mounts = append(s.Mounts, bind(volume, "/dev"), specs.Mount{
			Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"},
		})
	})
	mkdir(t, filepath.Join(volume, "pts"))
	mkdir(t, filepath.Join(volume, "fake"))
	write(t, filepath.Join(volume, "fake/ptmx"), "")
	link(t, filepath.Join(host, "secret"), filepath.Join(volume, "fake/0"))
	write(t, filepath.Join(volume, "console"), "")
	link(t, filepath.Join(host, "secret"), filepath.Join(volume, "link"))
	swapper(t, filepath.Join(volume, "pts"), filepath.Join(volume, "fake"))
	swapper(t, filepath.Join(volume, "console"), filepath.Join(volume, "link"))
	ran := 0
	for range launches {
		text, r := onTerminal(e, bundle, socket, output)
		if r.Code != 0 {
			continue
		}
		ran++
		// The names move while we look; what is mounted, and where stdin leads, does not.
		if text != "88\n2\n" {
			t.Fatalf("stdin is no pty, or one is mounted outside of the container: %s", text)
		}
	}
	t.Logf("%d of %d launches came through", ran, launches)
}

func TestHugepageSizeIsNoPath(t *testing.T) {
	for _, size := range []string{"2MB.rsvd", "../memory/2MB", "2MB.limit_in_bytes/../x", "2MB/..", "", "2MB\n", "limit"} {
		t.Run(fmt.Sprintf("%q", size), func(t *testing.T) {
			e := harness.New(t)
			refused(t, e, e.Bundle("true", func(s *specs.Spec) {
				s.Linux.Resources.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: size, Limit: 0}}
			}), "hugepageLimits[0].pageSize")
		})
	}
}
