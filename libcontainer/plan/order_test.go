package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/plan/plantest"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// kind is an operation's type, without the package and the pointer.
func kind(a plan.Action) string { return fmt.Sprintf("%T", a)[len("*plan."):] }

// places finds operations by kind.
type places map[string][]int

func placesOf(p *plan.Plan) places {
	at := make(places)
	for i := range p.Ops {
		k := kind(p.Ops[i].Do)
		at[k] = append(at[k], i)
	}
	return at
}

// before says what is wrong when not every a is in front of every b.
func (at places) before(a, b string) string {
	if len(at[a]) > 0 && len(at[b]) > 0 && slices.Max(at[a]) > slices.Min(at[b]) {
		return a + " comes after " + b
	}
	return ""
}

// inTheRoot act on paths of the container from the host's side of the root; asProcess
// prepare the program, on the container's side.
var (
	inTheRoot = []string{
		"MakeRoot", "Mount", "BindMount", "CgroupMount", "MakeDevice", "MakeDevLinks", "MakeDir", "MaskPath", "ReadonlyPath",
		"ReadonlyRoot", "LabelMount",
	}
	asProcess = []string{
		"SetSysctl", "SetHostname", "SetDomainname", "ReadPasswd", "ResetSignals", "DropBounding", "SetUser", "ChangeDir",
		"SetPersonality", "SetMemoryPolicy", "ChangeProfile", "SetExecLabel", "FindProgram", "KeepCapabilities", "SetCapabilities", "NoNewPrivileges", "InstallSeccomp", "AwaitStart", "Execute",
	}
)

// wrongs are the rules of every plan that p breaks.
func wrongs(p *plan.Plan) []string {
	at := placesOf(p)
	list := misplaced(at)
	add := func(bad bool, what string) {
		if bad {
			list = append(list, what)
		}
	}
	for i := range p.Ops {
		op := &p.Ops[i]
		add(op.Field == "", fmt.Sprintf("%s has no field", kind(op.Do)))
		add(op.Do.String() == "", fmt.Sprintf("%s has no text", kind(op.Do)))
	}
	for _, once := range []string{"Clone", "CloseFDs", "SealExe", "Undumpable", "DropBounding", "SetUser", "SetCapabilities", "FindProgram", "Execute"} {
		add(len(at[once]) != 1, fmt.Sprintf("%d times %s", len(at[once]), once))
	}
	if len(list) > 0 {
		return list
	}
	last := len(p.Ops) - 1
	tries := at["ChangeDir"]
	add(len(tries) == 0 || tries[len(tries)-1] < at["SetUser"][0], "the user never tries to enter the directory")
	add(at["Execute"][0] != last, "Execute is not the last operation")
	for i := range at["Clone"][0] {
		add(p.Ops[i].Actor == plan.Child, "the child acts before it exists")
	}
	add(at["CloseFDs"][0] != at["Clone"][0]+1, "the child does something before it closes descriptors")
	for _, i := range at["AwaitStart"] {
		for _, op := range p.Ops[i:last] {
			add(op.Actor == plan.Runtime, "nobody is left to perform "+op.Do.String())
		}
		add(kind(p.Ops[i-1].Do) != "Commit", "something lies between Commit and AwaitStart")
	}
	return append(list, filterWrongs(p, at)...)
}

// misplaced checks the order of pairs.
func misplaced(at places) (list []string) {
	pairs := [][2]string{
		{"SealExe", "Fork"},
		{"Undumpable", "Fork"},
		{"JoinNamespaces", "Fork"},
		{"JoinContainer", "Fork"},
		{"WriteIDMaps", "BecomeRoot"},
		{"SetTimeOffsets", "Fork"},
		{"CreateCgroups", "WriteCgroup"},
		{"OpenSources", "Clone"},
		{"OpenNetlink", "MoveNetDevice"},
		{"MoveNetDevice", "RunHooks"},
		{"DropBounding", "SetUser"},
		{"SetUser", "KeepCapabilities"},
		{"SetUser", "SetCapabilities"},
		{"SetUser", "FindProgram"},
		{"ChangeDir", "FindProgram"},
		{"ReadPasswd", "FindHome"},
		{"FindHome", "AwaitStart"},
		{"InstallSeccomp", "SendSeccompFD"},
		{"NewSession", "ControlTerminal"},
		{"SessionKeyring", "BecomeRoot"},
		{"Fork", "SetScheduler"},
		{"Fork", "SetIOPriority"},
		{"ChangeProfile", "NoNewPrivileges"},
		{"SetExecLabel", "NoNewPrivileges"},
		{"SetScheduler", "InstallSeccomp"},
		{"SetIOPriority", "InstallSeccomp"},
		{"SetMemoryPolicy", "InstallSeccomp"},
		{"SetPersonality", "InstallSeccomp"},
		{"SetPersonality", "AwaitStart"},
		{"SetMemoryPolicy", "AwaitStart"},
	}
	if len(at["CreateScope"]) == 0 {
		pairs = append(pairs, [2]string{"WriteCgroup", "Clone"}, [2]string{"SetDevices", "Clone"})
	} else { // the scope is made around the child, and its limits wait for it
		pairs = append(pairs, [2]string{"Clone", "CreateScope"}, [2]string{"CreateScope", "WriteCgroup"},
			[2]string{"CreateScope", "SetDevices"}, [2]string{"CreateScope", "Unshare"}, [2]string{"SetDevices", "MakeRoot"})
	}
	for _, in := range inTheRoot {
		pairs = append(pairs, [2]string{in, "PivotRoot"})
	}
	for _, as := range asProcess {
		pairs = append(pairs, [2]string{"PivotRoot", as}, [2]string{"Chroot", as})
	}
	for _, p := range pairs {
		if wrong := at.before(p[0], p[1]); wrong != "" {
			list = append(list, wrong)
		}
	}
	return list
}

// filterWrongs checks that a filter is loaded last, and with the right to do so.
func filterWrongs(p *plan.Plan, at places) (list []string) {
	for _, i := range at["InstallSeccomp"] {
		for _, op := range p.Ops[i+1 : len(p.Ops)-1] {
			waits := len(at["SendSeccompFD"]) > 0 && (kind(op.Do) == "Commit" || kind(op.Do) == "AwaitStart")
			if k := kind(op.Do); k != "SendSeccompFD" && k != "SetCapabilities" && !waits {
				list = append(list, k+" would run under the container's filter")
			}
		}
		pair := [2]string{"InstallSeccomp", "SetCapabilities"}
		if len(at["NoNewPrivileges"]) > 0 {
			pair = [2]string{"SetCapabilities", "InstallSeccomp"}
			list = append(list, at.before("NoNewPrivileges", "InstallSeccomp"))
		} else if len(at["KeepCapabilities"]) != 1 {
			list = append(list, "nothing keeps CAP_SYS_ADMIN for the filter")
		}
		list = append(list, at.before(pair[0], pair[1]))
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

func TestOrderOfGoldenPlans(t *testing.T) {
	for _, c := range plantest.Load(t, "testdata") {
		p, err := c.Plan()
		if err != nil || c.Mounts != nil {
			continue // an error case, which TestGolden holds, or no launch of a program
		}
		for _, wrong := range wrongs(p) {
			t.Errorf("%s: %s", c.Name, wrong)
		}
	}
}

// machine reads one of the machines of testdata.
func machine(tb testing.TB, name string) *host.Facts {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	facts := new(host.Facts)
	if err := json.Unmarshal(text, facts); err != nil {
		tb.Fatal(err)
	}
	return facts
}

// FuzzCreate compiles whatever validate lets through: the order must hold for all of it.
func FuzzCreate(f *testing.F) {
	for _, c := range plantest.Load(f, "testdata") {
		text, err := json.Marshal(c.Spec)
		if err != nil {
			f.Fatal(err)
		}
		for flags := range byte(32) {
			f.Add(text, flags)
		}
	}
	var machines []*host.Facts
	for _, name := range []string{"v1", "hybrid", "v2", "none"} {
		machines = append(machines, machine(f, name))
	}
	f.Fuzz(func(t *testing.T, config []byte, flags byte) {
		d := json.NewDecoder(bytes.NewReader(config))
		spec := new(specs.Spec)
		if d.Decode(spec) != nil {
			return
		}
		facts := *machines[flags&3]
		if flags&4 != 0 {
			facts.UID, facts.GID = 1000, 1000
		}
		if len(validate.Spec(spec, &facts)) > 0 {
			return
		}
		var filter *plan.Seccomp
		if flags&8 != 0 {
			filter = &plan.Seccomp{Instructions: make([]byte, 8), Notify: flags&64 != 0}
		}
		p, err := plan.Create(&plan.Input{
			Spec: spec, Facts: &facts, ID: "box", Bundle: "/bundle", Rootfs: "/bundle/rootfs",
			Seccomp: filter, Start: flags&16 != 0, NoPivot: flags&32 != 0, OptionalCgroups: plan.CgroupsOptional(spec, &facts),
		})
		if err == nil {
			hold(t, p)
		}
		p, err = plan.Exec(&plan.ExecInput{
			Process: spec.Process, Facts: &facts, ID: "box", Seccomp: filter, Rootfs: "/bundle/rootfs", Namespaces: kinds(spec),
		})
		if err == nil {
			hold(t, p)
		}
	})
}

func hold(t *testing.T, p *plan.Plan) {
	t.Helper()
	for _, wrong := range wrongs(p) {
		t.Error(wrong)
	}
	if err := p.WriteJSON(new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
}

// kinds are the namespaces in which a container of the spec differs from the runtime.
func kinds(spec *specs.Spec) (list []string) {
	if spec.Linux == nil {
		return nil
	}
	for _, n := range spec.Linux.Namespaces {
		list = append(list, string(n.Type))
	}
	return list
}
