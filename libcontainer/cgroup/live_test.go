package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestFreezeAndThaw(t *testing.T) {
	for name, hierarchies := range map[string][]string{
		"with the v1 freezer": {"freezer"},
		"with cgroup v2":      {""},
		"v1 comes first":      {"", "freezer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := create(t, hierarchies...)
			cmd := exec.Command("sh", "-c", `trap "exit 3" TERM; while :; do sleep 0.01; done`)
			start(t, s, cmd)
			awaitHandler(t, cmd.Process.Pid, unix.SIGTERM)
			want := func(frozen bool) {
				t.Helper()
				if got, err := s.State(); err != nil || got != frozen {
					t.Errorf("frozen: %v, %v; want %v", got, err, frozen)
				}
			}
			want(false)
			if err := s.Freeze(); err != nil {
				t.Fatal(err)
			}
			want(true)
			if err := unix.Kill(cmd.Process.Pid, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			if pids, err := s.PIDs(); err != nil || !slices.Contains(pids, cmd.Process.Pid) {
				t.Errorf("a frozen process acted on a signal: %v, %v", pids, err)
			}
			if err := s.Thaw(); err != nil {
				t.Fatal(err)
			}
			want(false)
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
				t.Errorf("after the thaw: %v", err)
			}
		})
	}
}

func TestFreezeOfAContainerWithoutFreezer(t *testing.T) {
	s := FromState(nil)
	if err := s.Freeze(); !errors.Is(err, ErrNoFreezer) {
		t.Errorf("got %v", err)
	}
	if frozen, err := s.State(); frozen || err != nil {
		t.Errorf("state: %v, %v", frozen, err)
	}
}

func TestFrozenAncestorDoesNotCount(t *testing.T) {
	s := create(t, "freezer")
	above := &group{hierarchy: "freezer", dir: parentOf(s.groups[0].dir)}
	if err := freezeV1(above.dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = above.thaw() }()
	if got := content(t, s.groups[0].dir+"/freezer.state"); got != "FROZEN" {
		t.Fatalf("state is %s", got)
	}
	if frozen, err := s.State(); frozen || err != nil {
		t.Errorf("got %v, %v", frozen, err)
	}
}

func TestPIDsIncludesCgroupsBelow(t *testing.T) {
	for _, hierarchy := range []string{"devices", ""} {
		s := create(t, hierarchy)
		inner := FromState(s.Paths())
		inner.groups[0].dir += "/inner"
		if err := os.Mkdir(inner.groups[0].dir, dirMode); err != nil {
			t.Fatal(err)
		}
		want := []int{sleeper(t, s).Process.Pid, sleeper(t, inner).Process.Pid}
		got, err := s.PIDs()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("hierarchy %q: %v\n%s", hierarchy, err, diff)
		}
		if err := s.Kill(unix.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}

func TestKillReachesEveryProcess(t *testing.T) {
	for name, hierarchies := range map[string][]string{
		"through cgroup.kill":           {""},
		"through the v1 freezer":        {"devices", "freezer"},
		"of a hierarchy without either": {"pids"},
		"of v1 and v2 together":         {"devices", "freezer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := create(t, hierarchies...)
			cmds := []*exec.Cmd{sleeper(t, s), sleeper(t, s)}
			if err := s.Kill(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for _, cmd := range cmds {
				if err := cmd.Wait(); !diedOf(err, syscall.SIGKILL) {
					t.Errorf("process ended with %v", err)
				}
			}
			if pids, err := s.PIDs(); err != nil || len(pids) > 0 {
				t.Errorf("left: %v, %v", pids, err)
			}
			if err := s.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKillReachesAFrozenContainer(t *testing.T) {
	for _, hierarchies := range [][]string{{"devices", "freezer"}, {""}} {
		s := create(t, hierarchies...)
		cmd := sleeper(t, s)
		if err := s.Freeze(); err != nil {
			t.Fatal(err)
		}
		if err := s.Kill(unix.SIGKILL); err != nil {
			t.Errorf("%v: %v", hierarchies, err)
		}
		if err := cmd.Wait(); !diedOf(err, syscall.SIGKILL) {
			t.Errorf("%v: process ended with %v", hierarchies, err)
		}
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestKillOutrunsAProcessThatForks(t *testing.T) {
	for name, hierarchies := range map[string][]string{
		"through the v1 freezer": {"devices", "freezer", "pids"},
		"through cgroup.kill":    {""},
	} {
		t.Run(name, func(t *testing.T) {
			if hierarchies[0] == "" {
				needV2(t, "pids")
			}
			s := create(t, hierarchies...)
			if err := s.Write(&plan.WriteCgroup{Hierarchy: hierarchies[len(hierarchies)-1], File: "pids.max", Value: "40"}); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", "while :; do sleep 1 & done")
			start(t, s, cmd)
			if err := s.Kill(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if pids, err := s.PIDs(); err != nil || len(pids) > 0 {
				t.Errorf("left: %v, %v", pids, err)
			}
			if err := s.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKillWithAnotherSignalLeavesAFrozenContainerFrozen(t *testing.T) {
	s := create(t, "freezer")
	cmd := sleeper(t, s)
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if frozen, err := s.State(); !frozen || err != nil {
		t.Errorf("got %v, %v", frozen, err)
	}
	if err := s.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !diedOf(err, syscall.SIGTERM) {
		t.Errorf("process ended with %v", err)
	}
}

func TestJoinFDsMoveTheWriter(t *testing.T) {
	s := create(t, "memory", "cpuset", "")
	fds, err := s.JoinFDs([]string{"", "pids", "memory", "cpuset"})
	if err != nil {
		t.Fatal(err)
	}
	if fds[1] != -1 {
		t.Errorf("a hierarchy without the container's cgroup has descriptor %d", fds[1])
	}
	cmd := exec.Command("sh", "-c", "for fd in 3 4 5; do echo 0 >&$fd || exit 1; done; cat /proc/self/cgroup")
	for _, fd := range []int{fds[0], fds[2], fds[3]} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not close-on-exec: %v", fd, err)
		}
		f := os.NewFile(uintptr(fd), "cgroup.procs")
		defer func() { _ = f.Close() }()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	own := "/gantry-test-" + strconv.Itoa(os.Getpid()) + "/" + t.Name()
	for _, line := range []string{"memory:" + own, "cpuset:" + own, "::" + own} {
		if !strings.Contains(string(out), line+"\n") {
			t.Errorf("%s is not in:\n%s", line, out)
		}
	}
}

func TestDirFDStartsAChildInTheCgroup(t *testing.T) {
	s := create(t, "")
	fd, err := s.DirFD()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	cmd := exec.Command("cat", "/proc/self/cgroup")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "0::/gantry-test-" + strconv.Itoa(os.Getpid()) + "/" + t.Name() + "\n"; !strings.Contains(string(out), want) {
		t.Errorf("%q is not in:\n%s", want, out)
	}
	if _, err := create(t, "pids").DirFD(); !errors.Is(err, ErrNotUnified) {
		t.Errorf("of v1: got %v", err)
	}
}

func TestOOMKills(t *testing.T) {
	t.Run("v1", func(t *testing.T) {
		outgrow(t, create(t, "memory"),
			plan.WriteCgroup{Hierarchy: "memory", File: "memory.limit_in_bytes", Value: "16777216"},
			plan.WriteCgroup{Hierarchy: "memory", File: "memory.memsw.limit_in_bytes", Value: "16777216", MayMiss: true})
	})
	t.Run("v2", func(t *testing.T) {
		outgrow(t, createV2(t, "memory"),
			plan.WriteCgroup{File: "memory.max", Value: "16777216"},
			plan.WriteCgroup{File: "memory.swap.max", Value: "0", MayMiss: true})
	})
	if n, err := FromState(nil).OOMKills(); n != 0 || err != nil {
		t.Errorf("without a memory cgroup: %d, %v", n, err)
	}
}

// outgrow runs a program that takes more memory than the limits allow.
func outgrow(t *testing.T, s *Set, limits ...plan.WriteCgroup) {
	t.Helper()
	if n, err := s.OOMKills(); n != 0 || err != nil {
		t.Fatalf("at the start: %d, %v", n, err)
	}
	for i := range limits {
		if err := s.Write(&limits[i]); err != nil {
			t.Fatal(err)
		}
	}
	hog := exec.Command("sh", "-c", "exec tail /dev/zero")
	start(t, s, hog)
	if err := hog.Wait(); !diedOf(err, syscall.SIGKILL) {
		t.Errorf("the process that took all memory ended with %v", err)
	}
	if n, err := s.OOMKills(); n == 0 || err != nil {
		t.Errorf("after the kill: %d, %v", n, err)
	}
}

// awaitHandler waits until the process handles the signal.
func awaitHandler(t *testing.T, pid int, sig unix.Signal) {
	t.Helper()
	for range 500 {
		_, caught, _ := strings.Cut(content(t, "/proc/"+strconv.Itoa(pid)+"/status"), "SigCgt:\t")
		mask, err := strconv.ParseUint(caught[:min(16, len(caught))], 16, 64)
		if err == nil && mask&(1<<(sig-1)) != 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the process sets no handler")
}
