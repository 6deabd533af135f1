package launch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/plan/plantest"
)

// lowered is a plan's program and what it was made of.
type lowered struct {
	*lowering
	ops   []plan.Op
	slots map[string]slot // the descriptors that operations open and close again
}

// lowerPlan lowers a plan with made-up descriptors, which nobody will use.
func lowerPlan(t *testing.T, p *plan.Plan) *lowered {
	t.Helper()
	a, err := newArena()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.free)
	l := &Launch{
		Plan: p, sync: 10, exe: 11, procFS: 12, named: 16, Target: 13, Start: 14, Console: 15,
		cgroupFDs: map[string]int{}, namespaceFDs: map[string]int{}, sources: map[int]int{},
	}
	for i := range p.Ops {
		switch a := p.Ops[i].Do.(type) {
		case *plan.JoinCgroups:
			for _, h := range a.Hierarchies {
				l.cgroupFDs[h] = 100 + len(l.cgroupFDs)
			}
		case *plan.JoinNamespaces:
			for j, n := range a.Namespaces {
				l.namespaceFDs[n.Path] = 200 + j
			}
		case *plan.OpenSources:
			for j, s := range a.Sources {
				if s.Path != "" {
					l.sources[j] = 300 + j
				}
			}
		}
	}
	_, _, after := l.split()
	w := lower(l, a, after)
	if a.full {
		t.Fatal("the program does not fit")
	}
	return &lowered{w, after, map[string]slot{"cur": w.cur, "tmp": w.tmp, "tree": w.tree}}
}

// golden lowers every plan of package plan's golden files.
func golden(t *testing.T, check func(t *testing.T, w *lowered)) {
	t.Helper()
	for _, c := range plantest.Load(t, "../plan/testdata") {
		p, err := c.Plan()
		if err != nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) { check(t, lowerPlan(t, p)) })
	}
}

// at describes a step for a failure.
func (w *lowered) at(i int) string {
	return fmt.Sprintf("step %d, %s of %q", i, callName(int(w.stepAt(uint32(i)).nr)), w.ops[w.program.ops[i]].Do)
}

// next are the steps that can follow one: after success, after an accepted error, and as
// the parent's side of a clone.
func next(s *step, i int) (ok, failed, positive int) {
	return i + 1 + int(s.skipOK), i + 1 + int(s.skipErr), i + 1 + int(s.skipOK) + int(s.skipPos)
}

func TestSkipsLandInTheProgram(t *testing.T) {
	golden(t, func(t *testing.T, w *lowered) {
		for i := range w.program.ops {
			s := w.stepAt(uint32(i))
			if ok, failed, positive := next(s, i); max(ok, failed, positive) > len(w.program.ops) {
				t.Errorf("%s: skips to %d, %d or %d of %d", w.at(i), ok, failed, positive, len(w.program.ops))
			}
			if s.skipErr > 0 && s.accept == 0 {
				t.Errorf("%s: says what to skip after an error that it does not accept", w.at(i))
			}
			if s.id != uint32(i) && s.id&lateMark == 0 {
				t.Errorf("%s: reports %d", w.at(i), s.id)
			}
		}
	})
}

// flow walks the program from its beginning to its end along every way that it can take.
// merge is called for each step that can be reached, in order, with the state behind one
// of those that lead to it; visit computes the states behind success and error.
func flow[S any](w *lowered, start S, merge func(a, b S) S, visit func(i int, s *step, in S) (ok, failed S)) {
	states := make([]*S, len(w.program.ops)+1)
	states[0] = &start
	join := func(to int, s S) {
		if states[to] != nil {
			s = merge(*states[to], s)
		}
		states[to] = &s
	}
	for i := range w.program.ops {
		if states[i] == nil {
			continue
		}
		s := w.stepAt(uint32(i))
		ok, failed := visit(i, s, *states[i])
		toOK, toFailed, toPositive := next(s, i)
		if !w.ends(s) {
			join(toOK, ok)
			join(toPositive, ok)
		}
		if s.accept != 0 {
			join(toFailed, failed)
		}
	}
}

// ends reports whether nothing follows the success of a step. For an empty path there is
// none: faccessat(2) answers ENOENT.
func (w *lowered) ends(s *step) bool {
	switch s.nr {
	case unix.SYS_EXIT_GROUP, unix.SYS_EXECVE:
		return true
	case unix.SYS_FACCESSAT2:
		name, ok := w.text(s.a[1])
		return ok && name == ""
	}
	return false
}

// TestSlotsAreWrittenBeforeTheyAreRead follows every way through the program.
func TestSlotsAreWrittenBeforeTheyAreRead(t *testing.T) {
	both := func(a, b map[slot]bool) map[slot]bool {
		m := make(map[slot]bool)
		for s := range a {
			if b[s] {
				m[s] = true
			}
		}
		return m
	}
	with := func(m map[slot]bool, s slot) map[slot]bool {
		c := map[slot]bool{s: true}
		for k := range m {
			c[k] = true
		}
		return c
	}
	golden(t, func(t *testing.T, w *lowered) {
		flow(w, map[slot]bool{}, both, func(i int, s *step, in map[slot]bool) (ok, failed map[slot]bool) {
			for arg := range s.a {
				if s.in&(1<<arg) != 0 && !in[slot(s.a[arg])] {
					t.Errorf("%s: slot %d was not written on every way to here", w.at(i), s.a[arg])
				}
			}
			ok, failed = in, in
			if s.out > 0 {
				ok = with(ok, slot(s.out-1))
			}
			if laid := w.laidOver(s); laid != 0 {
				ok = with(ok, laid)
			}
			return ok, failed
		})
	})
}

// laidOver is the slot that a structure of the kernel's fills in, 0 for none.
func (w *lowered) laidOver(s *step) slot {
	const modeOffset, flagsOffset = 28, uint64(unsafe.Offsetof(unix.Statfs_t{}.Flags))
	switch s.nr {
	case unix.SYS_STATX: // struct statx, see targetDirMode
		return slot((s.a[4] + modeOffset - uint64(w.arena.word(0))) / 8)
	case unix.SYS_FSTATFS: // struct statfs, see mountStat
		return slot((s.a[1] + flagsOffset - uint64(w.arena.word(0))) / 8)
	case unix.SYS_RECVMSG: // the control message, see receive
		return w.passed
	}
	return 0
}

// makesFD lists the calls whose result is a descriptor.
func makesFD(s *step) bool {
	switch s.nr {
	case unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_SOCKET, unix.SYS_ACCEPT4, opSet:
		return true
	}
	return false
}

// TestEveryOperationClosesWhatItOpens follows every way through the program: a descriptor
// in one of the three scratch slots is closed before the slot is used again and before the
// next operation begins; but for the file system that MakeFilesystem leaves to be attached.
func TestEveryOperationClosesWhatItOpens(t *testing.T) {
	golden(t, func(t *testing.T, w *lowered) {
		type open struct{ slots uint64 }
		bit := func(s slot) uint64 { return 1 << s }
		scratch := bit(w.cur) | bit(w.tmp) | bit(w.tree)
		merge := func(a, b open) open { return open{a.slots | b.slots} }
		last := -1
		flow(w, open{}, merge, func(i int, s *step, in open) (ok, failed open) {
			if op := int(w.program.ops[i]); op != last {
				var want uint64
				switch w.ops[op].Do.(type) {
				case *plan.CopyUp, *plan.AttachFilesystem: // between them, MakeFilesystem's two stay open
					want = bit(w.cur) | bit(w.tree)
				}
				if in.slots != want {
					t.Errorf("%s: begins with slots %b open", w.at(i), in.slots)
				}
				last = op
			}
			ok, failed = in, in
			if s.nr == unix.SYS_CLOSE && s.in&1 != 0 {
				ok.slots &^= bit(slot(s.a[0]))
				failed = ok
			}
			if s.out > 0 && bit(slot(s.out-1))&scratch != 0 && makesFD(s) {
				if in.slots&bit(slot(s.out-1)) != 0 {
					t.Errorf("%s: slot %d is still open", w.at(i), s.out-1)
				}
				ok.slots |= bit(slot(s.out - 1))
			}
			return ok, failed
		})
	})
}

// text reads a string of the program.
func (w *lowered) text(addr uint64) (string, bool) {
	if addr < uint64(w.arena.firstData()) || addr >= uint64(w.arena.end()) {
		return "", false
	}
	var b []byte
	for ; ; addr++ {
		c := *(*byte)(pointer(uintptr(addr)))
		if c == 0 {
			return string(b), true
		}
		b = append(b, c)
	}
}

// TestContainerPathsStayInTheRoot looks at every path that is opened below a descriptor of
// the container: it is resolved in the root, or is a single name without links.
func TestContainerPathsStayInTheRoot(t *testing.T) {
	golden(t, func(t *testing.T, w *lowered) {
		for i := range w.program.ops {
			s := w.stepAt(uint32(i))
			if s.nr != unix.SYS_OPENAT2 {
				continue
			}
			name, _ := w.text(s.a[1])
			resolve := *(*uint64)(pointer(uintptr(s.a[2]) + 16))
			inside := s.in&1 != 0
			inTheRoot := resolve&unix.RESOLVE_IN_ROOT != 0 && resolve&unix.RESOLVE_NO_MAGICLINKS != 0
			oneName := resolve&unix.RESOLVE_BENEATH != 0 && resolve&unix.RESOLVE_NO_SYMLINKS != 0 && !strings.Contains(name, "/")
			if inside && !inTheRoot && !oneName {
				t.Errorf("%s: %s is resolved with %#x", w.at(i), name, resolve)
			}
			if inside && strings.HasPrefix(name, "/") {
				t.Errorf("%s: %s is not relative", w.at(i), name)
			}
			ofProc := !inside && int(s.a[0]) == w.l.procFS
			if ofProc && resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV) !=
				unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV {
				t.Errorf("%s: %s of procfs is resolved with %#x", w.at(i), name, resolve)
			}
			if how := *(*uint64)(pointer(uintptr(s.a[2]))); how&unix.O_CLOEXEC == 0 {
				t.Errorf("%s: stays open across execve", w.at(i))
			}
		}
	})
}

// TestProcLiesBehindNoSymlink: the masks would not be where procfs is (CVE-2023-27561).
func TestProcLiesBehindNoSymlink(t *testing.T) {
	for kind, refuses := range map[string]bool{"proc": true, "sysfs": true, "tmpfs": false} {
		w := lowerPlan(t, &plan.Plan{Ops: []plan.Op{
			{Do: &plan.Clone{}}, {Actor: plan.Child, Do: &plan.Mount{Type: kind, Destination: "/x", Data: "mode=0"}},
		}})
		opens := 0
		for i := range w.program.ops {
			s := w.stepAt(uint32(i))
			if name, _ := w.text(s.a[1]); s.nr == unix.SYS_OPENAT2 && name == "x" {
				opens++
				resolve := *(*uint64)(pointer(uintptr(s.a[2]) + 16))
				if got := resolve&unix.RESOLVE_NO_SYMLINKS != 0; got != refuses {
					t.Errorf("%s: %s refuses symlinks: %v", kind, w.at(i), got)
				}
			}
		}
		if opens == 0 {
			t.Errorf("%s: its target is never opened", kind)
		}
	}
}

// TestHostPathsEndWithThePivot: behind it an absolute path is one of the container's.
func TestHostPathsEndWithThePivot(t *testing.T) {
	golden(t, func(t *testing.T, w *lowered) {
		pivoted := slices.IndexFunc(w.ops, func(op plan.Op) bool {
			_, ok := op.Do.(*plan.PivotRoot)
			return ok
		})
		if pivoted < 0 {
			return
		}
		for i, op := range w.program.ops {
			if int(op) <= pivoted {
				continue
			}
			switch w.ops[op].Do.(type) {
			case *plan.FindProgram, *plan.Execute:
				continue // looked up by the container's own rules, as its user
			}
			for arg, addr := range w.stepAt(uint32(i)).a {
				if name, ok := w.text(addr); ok && strings.HasPrefix(name, "/") && name != "/" && arg < 3 {
					t.Errorf("%s: uses %s", w.at(i), name)
				}
			}
		}
	})
}

func TestEveryCallHasAName(t *testing.T) {
	golden(t, func(t *testing.T, w *lowered) {
		for i := range w.program.ops {
			s := w.stepAt(uint32(i))
			if name := callName(int(s.nr)); s.nr != opSet && strings.HasPrefix(name, "system call ") {
				t.Errorf("%s has no name", name)
			}
		}
	})
}

// TestBarriersAreTheRuntimesOperations: every operation of the runtime behind Clone is
// performed at one barrier, in order, and the last before AwaitStart is marked.
func TestBarriersAreTheRuntimesOperations(t *testing.T) {
	golden(t, func(t *testing.T, w *lowered) {
		var want, got []string
		for _, op := range w.ops {
			if op.Actor == plan.Runtime {
				want = append(want, op.Do.String())
			}
		}
		for _, b := range w.barriers {
			for _, op := range b.ops {
				got = append(got, op.Do.String())
			}
			_, commits := b.ops[len(b.ops)-1].Do.(*plan.Commit)
			if waits := w.waited && commits; b.last != waits {
				t.Errorf("barrier of %q: last is %v", b.ops[0].Do, b.last)
			}
		}
		if !slices.Equal(want, got) {
			t.Errorf("barriers %q, operations %q", got, want)
		}
	})
}
