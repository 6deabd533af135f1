package launch

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// TestManyMountsFit: the program must hold what a config can reasonably ask for.
func TestManyMountsFit(t *testing.T) {
	p := &plan.Plan{Ops: []plan.Op{{Do: &plan.Clone{}}}}
	for i := range 200 {
		dest := fmt.Sprintf("/a/b/%d", i)
		p.Ops = append(p.Ops,
			plan.Op{Actor: plan.Child, Do: &plan.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs"}},
			plan.Op{Actor: plan.Child, Do: &plan.BindMount{Destination: dest, Source: "/x"}},
			plan.Op{Actor: plan.Child, Do: &plan.CgroupMount{Destination: dest, Cgroups: []plan.Cgroup{{Hierarchy: "a,b", Mount: "/cg", Path: "/x"}}}},
			plan.Op{Actor: plan.Child, Do: &plan.MaskPath{Path: dest}})
	}
	lowerPlan(t, p)
}

func TestProgramsThatDoNotFitAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(p *program)
	}{
		{"steps", func(p *program) {
			for range stepsSize/stepSize + 1 {
				p.call(unix.SYS_GETPID)
			}
		}},
		{"data", func(p *program) {
			for range 25 {
				p.bytes(make([]byte, 1<<20))
			}
		}},
		{"a string larger than all", func(p *program) { p.str(strings.Repeat("x", dataSize)) }},
		{"slots", func(p *program) {
			for range maxSlots {
				p.slot()
			}
		}},
		{"a skip", func(p *program) {
			s := p.set(0)
			for range 1 << 16 {
				p.set(0)
			}
			p.onSuccess(s)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := newArena()
			if err != nil {
				t.Fatal(err)
			}
			defer a.free()
			p := newProgram(a)
			p.call(unix.SYS_GETPID)
			if a.full {
				t.Fatal("full from the start")
			}
			if c.fill(p); !a.full {
				t.Error("it is not seen that it does not fit")
			}
		})
	}
}
