package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// kinds are the namespace types of config.json and their names in /proc/PID/ns.
var kinds = []struct {
	kind specs.LinuxNamespaceType
	file string
	flag uintptr
}{
	{specs.PIDNamespace, "pid", unix.CLONE_NEWPID},
	{specs.NetworkNamespace, "net", unix.CLONE_NEWNET},
	{specs.MountNamespace, "mnt", unix.CLONE_NEWNS},
	{specs.IPCNamespace, "ipc", unix.CLONE_NEWIPC},
	{specs.UTSNamespace, "uts", unix.CLONE_NEWUTS},
	{specs.UserNamespace, "user", unix.CLONE_NEWUSER},
	{specs.CgroupNamespace, "cgroup", unix.CLONE_NEWCGROUP},
	{specs.TimeNamespace, "time", 0}, // clone(2) can't make one
}

// namespacesOf reads the identities of a process's namespaces.
func namespacesOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	links := make(map[string]string)
	for _, k := range kinds {
		link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", k.file))
		if err != nil {
			t.Fatal(err)
		}
		links[k.file] = link
	}
	return links
}

// different lists the kinds in which two processes differ.
func different(a, b map[string]string) []string {
	var list []string
	for _, k := range kinds {
		if a[k.file] != b[k.file] {
			list = append(list, k.file)
		}
	}
	return list
}

// addNamespaces adds those that the config doesn't have: `spec` knows the machine, and asks
// for a cgroup namespace on cgroup v2.
func addNamespaces(s *specs.Spec, kinds ...specs.LinuxNamespaceType) {
	for _, kind := range kinds {
		dropNamespace(s, kind)
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
}

func dropNamespace(s *specs.Spec, kind specs.LinuxNamespaceType) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
}

// plain leaves of a config what works without any namespace but these.
func plain(s *specs.Spec, namespaces ...specs.LinuxNamespace) {
	s.Hostname = ""
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	s.Linux.Namespaces = namespaces
	has := func(kind specs.LinuxNamespaceType) bool {
		return slices.ContainsFunc(namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
	}
	// A procfs belongs to the user namespace of its pid namespace.
	proc := !has(specs.UserNamespace) || has(specs.PIDNamespace)
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool {
		return !has(specs.MountNamespace) || m.Destination != "/dev" && (m.Destination != "/proc" || !proc)
	})
}

func allKinds() []specs.LinuxNamespace {
	var list []specs.LinuxNamespace
	for _, k := range kinds {
		list = append(list, specs.LinuxNamespace{Type: k.kind})
	}
	return list
}

func mapIDs(s *specs.Spec, mappings ...specs.LinuxIDMapping) {
	s.Linux.UIDMappings, s.Linux.GIDMappings = mappings, mappings
}

func TestNewNamespace(t *testing.T) {
	harness.NeedRoot(t)
	host := namespacesOf(t, os.Getpid())
	for _, k := range kinds {
		t.Run(string(k.kind), func(t *testing.T) {
			want := []string{k.file}
			c := start(t, func(s *specs.Spec) {
				list := []specs.LinuxNamespace{{Type: k.kind}}
				if k.kind != specs.MountNamespace {
					list = append(list, specs.LinuxNamespace{Type: specs.MountNamespace})
					want = append(want, "mnt")
				}
				plain(s, list...)
				if k.kind == specs.UserNamespace {
					mapIDs(s, specs.LinuxIDMapping{ContainerID: 0, HostID: 100000, Size: 1000})
				}
			})
			got := different(host, namespacesOf(t, c.pid))
			slices.Sort(got)
			slices.Sort(want)
			equal(t, "namespaces other than the host's", want, got)
		})
	}
}

func TestAllNamespacesNew(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		plain(s, allKinds()...)
		mapIDs(s, specs.LinuxIDMapping{ContainerID: 0, HostID: 100000, Size: 1000})
	})
	got := different(namespacesOf(t, os.Getpid()), namespacesOf(t, c.pid))
	equal(t, "number of new namespaces", len(kinds), len(got))
}

func TestNoNamespaceAtAll(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) { plain(s) })
	equal(t, "namespaces other than the host's", []string(nil), different(namespacesOf(t, os.Getpid()), namespacesOf(t, c.pid)))
	root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", c.pid))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "root", filepath.Join(c.bundle, "rootfs"), root)
}

// holder is a process that has namespaces of its own, for others to join.
func holder(t *testing.T, attr *syscall.SysProcAttr, command ...string) int {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// holderOf holds one kind of namespace.
func holderOf(t *testing.T, kind specs.LinuxNamespaceType) int {
	t.Helper()
	if kind == specs.TimeNamespace {
		pid := holder(t, nil, "unshare", "--time", "--boottime", "100000", "sleep", "1000")
		eventually(t, "unshare makes a time namespace", func() bool {
			own, _ := os.Readlink("/proc/self/ns/time")
			link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time_for_children", pid))
			return err == nil && link != own && strings.HasPrefix(proc(t, pid, "comm"), "sleep")
		})
		return pid
	}
	attr := &syscall.SysProcAttr{}
	for _, k := range kinds {
		if k.kind == kind {
			attr.Cloneflags = k.flag
		}
	}
	if kind == specs.UserNamespace {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}
		attr.GidMappings, attr.GidMappingsEnableSetgroups = attr.UidMappings, true
	}
	return holder(t, attr, "sleep", "1000")
}

func nsPath(pid int, file string) string { return fmt.Sprintf("/proc/%d/ns/%s", pid, file) }

func TestJoinedNamespace(t *testing.T) {
	harness.NeedRoot(t)
	for _, k := range kinds {
		t.Run(string(k.kind), func(t *testing.T) {
			pid := holderOf(t, k.kind)
			file := k.file
			if file == "time" {
				file = "time_for_children"
			}
			c := start(t, func(s *specs.Spec) {
				list := []specs.LinuxNamespace{{Type: k.kind, Path: nsPath(pid, file)}}
				if k.kind != specs.MountNamespace {
					list = append(list, specs.LinuxNamespace{Type: specs.MountNamespace})
				}
				plain(s, list...)
			})
			want, err := os.Readlink(nsPath(pid, file))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "namespace", want, namespacesOf(t, c.pid)[k.file])
		})
	}
}

func TestJoinNamespacesOfAContainer(t *testing.T) {
	harness.NeedRoot(t)
	first := start(t, nil)
	theirs := namespacesOf(t, first.pid)
	second := start(t, func(s *specs.Spec) {
		for i, ns := range s.Linux.Namespaces {
			for _, k := range kinds {
				if k.kind == ns.Type && ns.Type != specs.MountNamespace {
					s.Linux.Namespaces[i].Path = nsPath(first.pid, k.file)
				}
			}
		}
		s.Hostname = ""
	})
	equal(t, "namespaces of its own", []string{"mnt"}, different(theirs, namespacesOf(t, second.pid)))
	equal(t, "processes that the second sees of the first", "1",
		second.exec("ps -o pid,args | grep -c '^ *1 sh -c trap'"))
	second.MustRun("kill", second.id, "KILL")
	second.WaitStatus(second.id, specs.StateStopped)
	equal(t, "status of the first after the second's end", specs.StateRunning, first.State(first.id).Status)
}

func TestJoinedUserNamespaceOwnsTheNewOnes(t *testing.T) {
	harness.NeedRoot(t)
	pid := holderOf(t, specs.UserNamespace)
	c := start(t, func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: nsPath(pid, "user")})
		s.Hostname = "joined"
	})
	want, err := os.Readlink(nsPath(pid, "user"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "user namespace", want, namespacesOf(t, c.pid)["user"])
	equal(t, "uid on the host", "100000 100000 100000 100000", status(t, c.pid, "Uid"))
	// A namespace that root of the user namespace does not own could not be named by it.
	equal(t, "hostname", "joined", c.exec("hostname"))
	f, err := os.Open(nsPath(c.pid, "net"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	owner, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(owner)
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", owner))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "owner of the new network namespace", want, link)
}

func TestJoinedUserNamespaceThatDeniesSetgroups(t *testing.T) {
	harness.NeedRoot(t)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}
	pid := holder(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}, "sleep", "1000")
	c := start(t, func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: nsPath(pid, "user")})
	})
	equal(t, "setgroups", "deny", proc(t, c.pid, "setgroups"))
	equal(t, "exec", "0", c.exec("id -u"))
}

func TestTimeNamespaceOffsets(t *testing.T) {
	harness.NeedRoot(t)
	const hour = 3600
	for name, user := range map[string]change{"as it is": func(*specs.Spec) {}, "in a user namespace": mapped} {
		t.Run(name, func(t *testing.T) {
			c := start(t, func(s *specs.Spec) {
				user(s)
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
				s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{
					"monotonic": {Secs: 24 * hour, Nanosecs: 5},
					"boottime":  {Secs: 1000 * hour},
				}
			})
			var offsets []string
			for line := range strings.Lines(proc(t, c.pid, "timens_offsets")) {
				offsets = append(offsets, strings.Join(strings.Fields(line), " "))
			}
			equal(t, "offsets", []string{"monotonic 86400 5", "boottime 3600000 0"}, offsets)
			for who, uptime := range map[string]string{"init": proc(t, c.pid, "root/proc/uptime"), "exec": c.exec("cat /proc/uptime")} {
				secs, err := strconv.ParseFloat(strings.Fields(uptime)[0], 64)
				if who == "exec" && (err != nil || secs < 1000*hour) {
					t.Errorf("%s: uptime %q is not beyond the offset", who, uptime)
				}
			}
		})
	}
}

func TestCgroupNamespaceShowsTheContainerAsRoot(t *testing.T) {
	harness.NeedRoot(t)
	script := "cut -d: -f3 /proc/self/cgroup | sort -u"
	expect(t, script, "/", func(s *specs.Spec) { addNamespaces(s, specs.CgroupNamespace) })
	if got := output(t, script, func(s *specs.Spec) { dropNamespace(s, specs.CgroupNamespace) }); !strings.Contains(got, "gt-") {
		t.Errorf("without a cgroup namespace /proc/self/cgroup shows %q, not the host's path", got)
	}
}

func TestWrongNamespaceFile(t *testing.T) {
	harness.NeedRoot(t)
	pid := holderOf(t, specs.UTSNamespace)
	at := func(kind specs.LinuxNamespaceType, path string) change {
		return func(s *specs.Spec) {
			plain(s, specs.LinuxNamespace{Type: specs.MountNamespace}, specs.LinuxNamespace{Type: kind, Path: path})
		}
	}
	t.Run("of another type", func(t *testing.T) {
		refuse(t, at(specs.NetworkNamespace, nsPath(pid, "uts")), "linux.namespaces", "invalid argument")
	})
	t.Run("that is none", func(t *testing.T) {
		refuse(t, at(specs.NetworkNamespace, "/etc/passwd"), "linux.namespaces", "invalid argument")
	})
	t.Run("that is missing", func(t *testing.T) {
		refuse(t, at(specs.NetworkNamespace, "/proc/none"), "linux.namespaces", "no such file or directory")
	})
}

func TestLoopbackIsUp(t *testing.T) {
	// IFF_UP and IFF_LOOPBACK
	expect(t, "cat /sys/class/net/lo/flags; ls /sys/class/net", "0x9\nlo", nil)
}
