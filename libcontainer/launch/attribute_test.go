package launch

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// TestSchedulerNumbers holds names to the kernel's numbers, linux/sched.h.
func TestSchedulerNumbers(t *testing.T) {
	for name, want := range map[string]uint32{
		"SCHED_OTHER": unix.SCHED_NORMAL, "SCHED_FIFO": unix.SCHED_FIFO, "SCHED_RR": unix.SCHED_RR, "SCHED_BATCH": unix.SCHED_BATCH,
		"SCHED_ISO": 4, "SCHED_IDLE": unix.SCHED_IDLE, "SCHED_DEADLINE": unix.SCHED_DEADLINE,
	} {
		if got := schedAttr(&plan.SetScheduler{Policy: name}).Policy; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	var all uint64
	for name, want := range map[string]uint64{
		"SCHED_FLAG_RESET_ON_FORK": unix.SCHED_FLAG_RESET_ON_FORK, "SCHED_FLAG_RECLAIM": unix.SCHED_FLAG_RECLAIM,
		"SCHED_FLAG_DL_OVERRUN": unix.SCHED_FLAG_DL_OVERRUN, "SCHED_FLAG_KEEP_POLICY": unix.SCHED_FLAG_KEEP_POLICY,
		"SCHED_FLAG_KEEP_PARAMS": unix.SCHED_FLAG_KEEP_PARAMS, "SCHED_FLAG_UTIL_CLAMP_MIN": unix.SCHED_FLAG_UTIL_CLAMP_MIN,
		"SCHED_FLAG_UTIL_CLAMP_MAX": unix.SCHED_FLAG_UTIL_CLAMP_MAX,
	} {
		all |= want
		if got := schedAttr(&plan.SetScheduler{Policy: "SCHED_OTHER", Flags: []string{name}}).Flags; got != want {
			t.Errorf("%s is %#x, want %#x", name, got, want)
		}
	}
	if all != unix.SCHED_FLAG_ALL {
		t.Errorf("all flags are %#x, the kernel has %#x", all, unix.SCHED_FLAG_ALL)
	}
}

func TestIOPriorityNumbers(t *testing.T) {
	for class, want := range map[string]int{"IOPRIO_CLASS_RT": 1<<13 | 7, "IOPRIO_CLASS_BE": 2<<13 | 7, "IOPRIO_CLASS_IDLE": 3<<13 | 7} {
		if got := ioPriority(&plan.SetIOPriority{Class: class, Priority: 7}); got != want {
			t.Errorf("%s 7 is %#x, want %#x", class, got, want)
		}
	}
}

func TestIDMask(t *testing.T) {
	words := func(list ...uint64) (b []byte) {
		for _, w := range list {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
		return b
	}
	beyond := make([]uint64, 65) // more CPUs than glibc's cpu_set_t has
	beyond[64], beyond[0] = 1<<10, 1
	for _, c := range []struct {
		name   string
		ranges []plan.IDRange
		want   []byte
	}{
		{"none", nil, nil},
		{"the first", []plan.IDRange{{First: 0, Last: 0}}, words(1)},
		{"across words", []plan.IDRange{{First: 62, Last: 65}}, words(3<<62, 3)},
		{"out of order", []plan.IDRange{{First: 64, Last: 64}, {First: 1, Last: 1}}, words(2, 1)},
		{"above 1024", []plan.IDRange{{First: 0, Last: 0}, {First: 4106, Last: 4106}}, words(beyond...)},
	} {
		if got := idMask(c.ranges); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
	}
}

// callOf lowers one operation of the child that is one system call.
func callOf(t *testing.T, do plan.Action) *step {
	t.Helper()
	w := lowerPlan(t, &plan.Plan{Ops: []plan.Op{{Do: &plan.Clone{}}, {Actor: plan.Child, Do: do}}})
	for i, op := range w.program.ops {
		if s := w.stepAt(uint32(i)); op == 0 && s.nr != unix.SYS_RT_SIGPROCMASK {
			return s
		}
	}
	t.Fatalf("%s: nothing is called", do)
	return nil
}

// memory is what a step's argument points at.
func memory(addr uint64, n int) []byte { return unsafe.Slice((*byte)(pointer(uintptr(addr))), n) }

func TestMemoryPolicyCall(t *testing.T) {
	nodes := []plan.IDRange{{First: 1, Last: 2}, {First: 64, Last: 64}}
	for _, c := range []struct {
		mode  string
		flags []string
		want  uint64
	}{
		{"MPOL_DEFAULT", nil, 0},
		{"MPOL_PREFERRED", nil, unix.MPOL_PREFERRED},
		{"MPOL_BIND", []string{"MPOL_F_NUMA_BALANCING"}, unix.MPOL_BIND | unix.MPOL_F_NUMA_BALANCING},
		{"MPOL_INTERLEAVE", []string{"MPOL_F_STATIC_NODES"}, unix.MPOL_INTERLEAVE | unix.MPOL_F_STATIC_NODES},
		{"MPOL_LOCAL", nil, unix.MPOL_LOCAL},
		{"MPOL_PREFERRED_MANY", []string{"MPOL_F_RELATIVE_NODES"}, unix.MPOL_PREFERRED_MANY | unix.MPOL_F_RELATIVE_NODES},
		{"MPOL_WEIGHTED_INTERLEAVE", nil, unix.MPOL_WEIGHTED_INTERLEAVE},
	} {
		s := callOf(t, &plan.SetMemoryPolicy{Mode: c.mode, Flags: c.flags, Nodes: nodes})
		if s.nr != unix.SYS_SET_MEMPOLICY || s.a[0] != c.want {
			t.Errorf("%s: call %d with mode %#x, want %#x", c.mode, s.nr, s.a[0], c.want)
		}
		if got, want := memory(s.a[1], 16), idMask(nodes); !bytes.Equal(got, want) || s.a[2] != 129 {
			t.Errorf("%s: %d bits of %x", c.mode, s.a[2], got)
		}
	}
	if s := callOf(t, &plan.SetMemoryPolicy{Mode: "MPOL_LOCAL"}); s.a[1] != 0 || s.a[2] != 0 {
		t.Errorf("without nodes the call has %d bits at %#x", s.a[2], s.a[1])
	}
}

func TestAttributeCalls(t *testing.T) {
	if s := callOf(t, &plan.SetPersonality{Domain: "LINUX32"}); s.nr != unix.SYS_PERSONALITY || s.a[0] != 8 {
		t.Errorf("LINUX32 is call %d with %d", s.nr, s.a[0])
	}
	if s := callOf(t, &plan.SetPersonality{Domain: "LINUX"}); s.nr != unix.SYS_PERSONALITY || s.a[0] != 0 {
		t.Errorf("LINUX is call %d with %d", s.nr, s.a[0])
	}
	if s := callOf(t, &plan.SetIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 3}); s.nr != unix.SYS_IOPRIO_SET ||
		s.a[0] != 1 || s.a[1] != 0 || s.a[2] != 2<<13|3 {
		t.Errorf("an I/O priority is call %d with %v", s.nr, s.a)
	}
	s := callOf(t, &plan.SetCPUAffinity{CPUs: []plan.IDRange{{First: 1, Last: 1}}})
	if s.nr != unix.SYS_SCHED_SETAFFINITY || s.a[0] != 0 || s.a[1] != 8 || memory(s.a[2], 1)[0] != 2 {
		t.Errorf("an affinity is call %d with %v", s.nr, s.a)
	}
	s = callOf(t, &plan.SetScheduler{Policy: "SCHED_DEADLINE", Nice: -3, Priority: 9, Runtime: 1, Deadline: 2, Period: 3})
	want := unix.SchedAttr{Size: 56, Policy: 6, Nice: -3, Priority: 9, Runtime: 1, Deadline: 2, Period: 3}
	if got := *(*unix.SchedAttr)(pointer(uintptr(s.a[1]))); s.nr != unix.SYS_SCHED_SETATTR || s.a[0] != 0 || s.a[2] != 0 || got != want {
		t.Errorf("a scheduler is call %d with %+v", s.nr, got)
	}
}

// TestLabelsAreWrittenThroughTheProcfsHandle: whatever the container has at /proc is never
// looked at (CVE-2019-16884), and nothing but the whole label counts as written.
func TestLabelsAreWrittenThroughTheProcfsHandle(t *testing.T) {
	for _, c := range []struct {
		do         plan.Action
		file, text string
	}{
		{&plan.ChangeProfile{Profile: "box"}, "self/attr/apparmor/exec", "exec box"},
		{&plan.SetExecLabel{Label: "u:r:t:s0:c1,c2"}, "self/attr/exec", "u:r:t:s0:c1,c2"},
		{&plan.SessionKeyring{Name: "_ses.box", Label: "u:r:t:s0"}, "self/attr/keycreate", "u:r:t:s0"},
	} {
		w := lowerPlan(t, &plan.Plan{Ops: []plan.Op{{Do: &plan.Clone{}}, {Actor: plan.Child, Do: c.do}}})
		opened, written := false, false
		for i := range w.program.ops {
			s := w.stepAt(uint32(i))
			name, _ := w.text(s.a[1])
			switch s.nr {
			case unix.SYS_OPENAT2:
				opened = opened || int(s.a[0]) == w.l.procFS && s.in == 0 && name == c.file && s.accept == 0
			case unix.SYS_WRITE:
				written = written || opened && name == c.text && s.a[2] == uint64(len(c.text)) && s.min == s.a[2] && s.accept == 0
			}
		}
		if !opened || !written {
			t.Errorf("%s: %s opened %v, %q written %v", c.do, c.file, opened, c.text, written)
		}
	}
}
