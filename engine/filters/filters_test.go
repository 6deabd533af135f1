package filters_test

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/engine/filters"
)

func TestParse(t *testing.T) {
	label := filters.Args{"label": {"a": true, "b=c": true}}
	tests := map[string]struct {
		text string
		want filters.Args
		err  string
	}{
		"nothing":       {"", filters.Args{}, ""},
		"null":          {"null", filters.Args{}, ""},
		"map":           {`{"label":{"a":true,"b=c":true}}`, label, ""},
		"list":          {`{"label":["a","b=c"]}`, label, ""},
		"no JSON":       {"x", nil, "invalid filter"},
		"another shape": {`["label"]`, nil, "invalid filter"},
		"numbers":       {`{"label":[1]}`, nil, "invalid filter"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := filters.Parse(test.text)
			if test.err != "" {
				if err == nil || err.Error() != test.err || !errdefs.IsInvalidArgument(err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMatching(t *testing.T) {
	a := filters.Args{"name": {"^we": true, "db": true}, "id": {"abc": true}, "label": {"a": true, "b=c": true}, "driver": {"x": true, "y": true}}
	tests := map[string]struct{ got, want bool }{
		"exact":                     {a.Exact("name", "db"), true},
		"exact is not a part":       {a.Exact("name", "mydb"), false},
		"a key that is not there":   {a.Exact("status", "up"), true},
		"part":                      {a.Match("name", "mydb"), true},
		"regular expression":        {a.Match("name", "web"), true},
		"neither":                   {a.Match("name", "my-web"), false},
		"beginning":                 {a.Prefix("id", "abcdef"), true},
		"not the beginning":         {a.Prefix("id", "xabc"), false},
		"all labels":                {a.Labels("label", map[string]string{"a": "1", "b": "c"}), true},
		"a label's value":           {a.Labels("label", map[string]string{"a": "1", "b": "d"}), false},
		"a missing label":           {a.Labels("label", map[string]string{"b": "c"}), false},
		"no labels asked for":       {a.Labels("label!", nil), true},
		"two values of which one":   {a.Unique("driver", "x"), false},
		"one value":                 {a.Unique("id", "abc"), true},
		"has":                       {a.Has("id"), true},
		"has not":                   {a.Has("until"), false},
		"a pattern that is no such": {filters.Args{"name": {"[": true}}.Match("name", "x"), false},
	}
	for name, test := range tests {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", name, test.got, test.want)
		}
	}
}

func TestOnly(t *testing.T) {
	a := filters.Args{"zone": {"1": true}, "name": {"x": true}, "area": {"1": true}}
	if err := a.Only("name", "zone", "area"); err != nil {
		t.Error(err)
	}
	err := a.Only("name")
	if err == nil || err.Error() != "invalid filter 'area'" || !errdefs.IsInvalidArgument(err) {
		t.Errorf("error %v, want invalid filter 'area'", err)
	}
}

func TestBool(t *testing.T) {
	tests := map[string]struct {
		args filters.Args
		want bool
		err  string
	}{
		"absent":   {filters.Args{}, true, ""},
		"true":     {filters.Args{"dangling": {"true": true}}, true, ""},
		"0":        {filters.Args{"dangling": {"0": true}}, false, ""},
		"both":     {filters.Args{"dangling": {"0": true, "1": true}}, true, "invalid filter 'dangling=[0 1]'"},
		"neither":  {filters.Args{"dangling": {"maybe": true}}, true, "invalid filter 'dangling=[maybe]'"},
		"no value": {filters.Args{"dangling": {}}, true, "invalid filter 'dangling'"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.args.Bool("dangling", true)
			if got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
			if text(err) != test.err {
				t.Errorf("error %q, want %q", text(err), test.err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
