package attack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Mount targets that lead out of the image.

func TestCVE_2019_18837_MountTargetIsALinkToTheHost(t *testing.T) {
	for name, target := range map[string]func(canary string) string{
		"an absolute link": func(c string) string { return c },
		"a way up":         func(c string) string { return "../../../../../../../../../.." + c },
	} {
		t.Run(name, func(t *testing.T) {
			e, host := harness.New(t), canary(t)
			bundle := e.Bundle("echo x >/target/deep/er/file && echo x >/target/secret && grep -c attacked /proc/self/mountinfo", func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, tmpfs("/target/deep/er"), tmpfs("/target"), tmpfs("/target/deep/er"))
			})
			link(t, target(host), filepath.Join(bundle, "rootfs/target"))
			mkdir(t, filepath.Join(bundle, "rootfs", host)) // what the link leads to inside
			answers(t, e, bundle, "3")
		})
		t.Run(name+" to what is not in the image", func(t *testing.T) {
			e, host := harness.New(t), canary(t)
			bundle := e.Bundle("true", func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmpfs("/target")) })
			link(t, target(host), filepath.Join(bundle, "rootfs/target"))
			e.Run("run", "--bundle", bundle, e.ID("c")) // refused or made inside: the canary tells
		})
	}
}

func TestCVE_2021_30465_MountTargetIsSwappedForALink(t *testing.T) {
	e, host, volume := harness.New(t), canary(t), t.TempDir()
	bundle := e.Bundle("grep -c attacked /proc/self/mountinfo; true", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(volume, "/vol"), tmpfs("/vol/target"))
	})
	mkdir(t, filepath.Join(volume, "target"))
	link(t, host, filepath.Join(volume, "link"))
	swapper(t, filepath.Join(volume, "target"), filepath.Join(volume, "link"))
	race(t, e, bundle, func(stdout string) string {
		if strings.TrimSpace(stdout) != "1" {
			return "the tmpfs was mounted outside of the container"
		}
		return ""
	})
}

// TestSourceInTheRootIsALinkToTheHost: what a volume calls a directory of the container is
// looked up in the container.
func TestSourceInTheRootIsALinkToTheHost(t *testing.T) {
	script := "cat /out/secret /out/kept 2>/dev/null; test -e /out/secret && echo x >/out/secret; true"
	config := func(volume, rootfs string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind(volume, "/vol"), bind(filepath.Join(rootfs, "vol/source"), "/out"))
		}
	}
	t.Run("that stands still", func(t *testing.T) {
		e, host, volume := harness.New(t), canary(t), t.TempDir()
		bundle := e.Bundle(script, nil)
		e.EditConfig(bundle, config(volume, filepath.Join(bundle, "rootfs")))
		link(t, host, filepath.Join(volume, "source"))
		mkdir(t, filepath.Join(bundle, "rootfs", host)) // what the link leads to inside
		answers(t, e, bundle, "")
	})
	t.Run("that comes and goes", func(t *testing.T) {
		e, host, volume := harness.New(t), canary(t), t.TempDir()
		bundle := e.Bundle(script, nil)
		e.EditConfig(bundle, config(volume, filepath.Join(bundle, "rootfs")))
		mkdir(t, filepath.Join(bundle, "rootfs", host))
		mkdir(t, filepath.Join(volume, "source"))
		link(t, host, filepath.Join(volume, "link"))
		swapper(t, filepath.Join(volume, "source"), filepath.Join(volume, "link"))
		race(t, e, bundle, func(stdout string) string {
			if stdout != "" {
				return "the container saw the canary"
			}
			return ""
		})
	})
}

func TestCVE_2024_45310_MissingTargetsAreMadeOnTheHost(t *testing.T) {
	t.Run("through a link that stands still", func(t *testing.T) {
		e, host, volume := harness.New(t), canary(t), t.TempDir()
		file := filepath.Join(host, "secret")
		bundle := e.Bundle("true", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind(volume, "/vol"), tmpfs("/vol/link/new/dir"), bind(file, "/vol/link/other/file"))
			s.Process.Cwd = "/vol/link/work/dir"
		})
		link(t, host, filepath.Join(volume, "link"))
		mkdir(t, filepath.Join(bundle, "rootfs", host)) // what the link leads to inside
		answers(t, e, bundle, "")
	})
	t.Run("through a link that comes and goes", func(t *testing.T) {
		e, host, volume := harness.New(t), canary(t), t.TempDir()
		bundle := e.Bundle("true", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind(volume, "/vol"), tmpfs("/vol/a/new/dir"))
		})
		mkdir(t, filepath.Join(volume, "a"))
		link(t, host, filepath.Join(volume, "link"))
		swapper(t, filepath.Join(volume, "a"), filepath.Join(volume, "link"))
		race(t, e, bundle, func(string) string { return "" })
	})
}

func TestCVE_2023_27561_ProcAndSysAreLinksInTheImage(t *testing.T) {
	for _, name := range []string{"proc", "sys"} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle("true", nil)
			mkdir(t, filepath.Join(bundle, "rootfs/elsewhere"))
			link(t, "/elsewhere", filepath.Join(bundle, "rootfs", name))
			refused(t, e, bundle, "ordinary directory")
		})
	}
}

func TestCVE_2019_19921_ProcIsSwappedForALink(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("stat -f -c %T /proc; cat /proc/sys/net/ipv4/ip_forward; true", func(s *specs.Spec) {
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
	})
	rootfs := filepath.Join(bundle, "rootfs")
	mkdir(t, filepath.Join(rootfs, "fake/sys/net/ipv4"))
	write(t, filepath.Join(rootfs, "fake/sys/net/ipv4/ip_forward"), "fake\n")
	link(t, "/fake", filepath.Join(rootfs, "link"))
	swapper(t, filepath.Join(rootfs, "proc"), filepath.Join(rootfs, "link"))
	race(t, e, bundle, func(stdout string) string {
		// At the moment of looking /proc may be the link.
		if strings.HasPrefix(stdout, "proc\n") && !strings.Contains(stdout, "\n1\n") && !strings.Contains(stdout, "\nfake\n") {
			return "the sysctl was set somewhere else"
		}
		if b, err := os.ReadFile(filepath.Join(rootfs, "fake/sys/net/ipv4/ip_forward")); err != nil || string(b) != "fake\n" {
			return "the sysctl was written to the image: " + string(b)
		}
		return ""
	})
}

func TestCVE_2019_16884_NothingIsMountedOverProc(t *testing.T) {
	fake := t.TempDir()
	for name, m := range map[string]specs.Mount{
		"a tmpfs on /proc":               tmpfs("/proc"),
		"a tmpfs inside /proc":           tmpfs("/proc/self/attr"),
		"a tmpfs by a detour":            tmpfs("/tmp/../proc/./self"),
		"a directory bound on /proc":     bind(fake, "/proc"),
		"a directory bound inside /proc": bind(fake, "/proc/sys"),
		"a directory bound as a procfs":  {Destination: "/proc", Type: "proc", Source: fake, Options: []string{"rbind"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			refused(t, e, e.Bundle("true", func(s *specs.Spec) { s.Mounts = append(s.Mounts, m) }), "/proc")
		})
	}
}

func TestCVE_2025_52881_SysctlsAreWrittenToARealProcfs(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("cat /real/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward", func(s *specs.Spec) {
		unmounted(s, "/proc")
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/real", Type: "proc", Source: "proc"})
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	})
	mkdir(t, filepath.Join(bundle, "rootfs/proc/sys/net/ipv4"))
	write(t, filepath.Join(bundle, "rootfs/proc/sys/net/ipv4/ip_forward"), "fake\n")
	answers(t, e, bundle, "1\nfake")
}

func TestNoPivotLeavesNoBareProcBehind(t *testing.T) {
	for name, args := range map[string][]string{"pivot_root": nil, "--no-pivot": {"--no-pivot"}} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			// The kernel mounts a fresh procfs only for who can see a whole one already.
			bundle := e.Bundle("/bin/attacker procfs outside 2>&1", func(s *specs.Spec) { s.Process.User.UID = 1000 })
			install(t, bundle)
			r := e.Run(append(append([]string{"run", "--bundle", bundle}, args...), e.ID("c"))...)
			if r.Code == 0 || !strings.Contains(r.Stdout, "attacker: operation not permitted") {
				t.Errorf("exit %d, %s%s: a procfs without masks could be mounted", r.Code, r.Stdout, r.Stderr)
			}
		})
	}
}

// install puts the attacker into a bundle's image.
func install(t *testing.T, bundle string) {
	t.Helper()
	b, err := os.ReadFile(attacker)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(bundle, "rootfs/bin/attacker"), string(b))
}
