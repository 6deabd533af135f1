package build

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	given := map[string]*string{"A": new("given"), "http_proxy": new("proxy"), "UNSET": nil, "NEVER": new("1")}
	all := newArguments(given)
	all.declare("G", new("global"))
	all.global["G"] = new("global")
	a := all.stage()
	for _, test := range []struct {
		name    string
		declare map[string]*string
		env     []string
		want    []string
	}{
		{"nothing is declared", nil, nil, []string{"http_proxy=proxy"}},
		{"the client's value counts", map[string]*string{"A": new("default")}, nil, []string{"A=given", "http_proxy=proxy"}},
		{"a default", map[string]*string{"B": new("default")}, nil, []string{"B=default", "http_proxy=proxy"}},
		{"no value at all", map[string]*string{"B": nil, "UNSET": nil}, nil, []string{"http_proxy=proxy"}},
		{"the value from before FROM", map[string]*string{"G": nil}, nil, []string{"G=global", "http_proxy=proxy"}},
		{"a variable of the environment wins", map[string]*string{"A": nil}, []string{"A=env", "http_proxy=x"}, nil},
	} {
		a.declared = test.declare
		if d := cmp.Diff(test.want, a.variables(test.env)); d != "" {
			t.Errorf("%s:\n%s", test.name, d)
		}
	}
	all.used["A"] = true
	if d := cmp.Diff([]string{"NEVER", "UNSET"}, all.unused()); d != "" {
		t.Error(d)
	}
}

func TestRecordedCommand(t *testing.T) {
	a := newArguments(nil)
	a.declared["A"] = nil
	command := []string{"sh", "-c", "x"}
	for _, test := range []struct{ variables, want []string }{
		{nil, command},
		{[]string{"http_proxy=p"}, append([]string{"|0"}, command...)},
		{[]string{"http_proxy=p", "B=2", "A=1"}, append([]string{"|2", "A=1", "B=2"}, command...)},
	} {
		if d := cmp.Diff(test.want, a.recorded(test.variables, command)); d != "" {
			t.Errorf("%v:\n%s", test.variables, d)
		}
	}
	a.declared["http_proxy"] = nil
	if got := a.recorded([]string{"http_proxy=p"}, command); got[1] != "http_proxy=p" {
		t.Errorf("a proxy that is declared is left out: %v", got)
	}
}
