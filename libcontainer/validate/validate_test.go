package validate

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// badCase is one change to full.json that breaks rules.
type badCase struct {
	change func(*specs.Spec)
	uid    uint32 // of the runtime
	mode   host.CgroupMode
	want   []string
}

// badCases are the tables of all test files, by name.
func badCases(t *testing.T) map[string]badCase {
	t.Helper()
	all := make(map[string]badCase)
	for _, table := range []map[string]badCase{
		topCases, processCases, scheduleCases, mountCases, namespaceCases, sysctlCases, deviceCases,
		resourceCases, linuxCases,
	} {
		for name, c := range table {
			if _, ok := all[name]; ok {
				t.Fatalf("two cases are called %q", name)
			}
			all[name] = c
		}
	}
	return all
}

func (c *badCase) problems(t *testing.T) []Problem {
	t.Helper()
	spec := load(t, "full.json")
	c.change(spec)
	facts := root
	facts.UID, facts.Cgroup.Mode = c.uid, c.mode
	return Spec(spec, &facts)
}

func TestSpecNamesEveryBrokenRule(t *testing.T) {
	for name, test := range badCases(t) {
		t.Run(name, func(t *testing.T) {
			got := test.problems(t)
			if diff := cmp.Diff(test.want, texts(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			for _, p := range got {
				if p.Path == "" || p.Ref == "" {
					t.Errorf("no path or no reference: %+v", p)
				}
			}
		})
	}
}

// refuses is the bad case of a top-level version.
func refuses(version, rule string) badCase {
	return badCase{
		change: func(s *specs.Spec) { s.Version = version },
		want:   []string{"ociVersion: " + rule},
	}
}

const notSemantic = ", must be a semantic version such as 1.3.0"

var topCases = map[string]badCase{
	"no version":                     refuses("", "must not be empty"),
	"a word for a version":           refuses("invalid", `unsupported spec version "invalid"`+notSemantic),
	"a version of two numbers":       refuses("1.3", `unsupported spec version "1.3"`+notSemantic),
	"a version of four numbers":      refuses("1.3.0.0", `unsupported spec version "1.3.0.0"`+notSemantic),
	"a version with leading zeros":   refuses("1.03.0", `unsupported spec version "1.03.0"`+notSemantic),
	"a version with a v":             refuses("v1.3.0", `unsupported spec version "v1.3.0"`+notSemantic),
	"an empty pre-release":           refuses("1.3.0-", `unsupported spec version "1.3.0-"`+notSemantic),
	"a build with a bad letter":      refuses("1.3.0+a_b", `unsupported spec version "1.3.0+a_b"`+notSemantic),
	"a major version after ours":     refuses("2.0.0", `unsupported spec version "2.0.0", must be 1.x`),
	"a major version before ours":    refuses("0.2.0", `unsupported spec version "0.2.0", must be 1.x`),
	"a major version of many digits": refuses("11.0.0", `unsupported spec version "11.0.0", must be 1.x`),

	"no root":           {change: func(s *specs.Spec) { s.Root = nil }, want: []string{"root: must be specified"}},
	"an empty root":     {change: func(s *specs.Spec) { s.Root.Path = "" }, want: []string{"root.path: must not be empty"}},
	"a root with a NUL": {change: func(s *specs.Spec) { s.Root.Path = "a\x00b" }, want: []string{"root.path: contains a NUL byte"}},
	"no linux section": {
		change: func(s *specs.Spec) { s.Linux = nil },
		want: []string{
			"hostname: unable to set hostname without a private UTS namespace",
			"domainname: unable to set domainname without a private UTS namespace",
		},
	},
	"a hostname with a NUL": {change: func(s *specs.Spec) { s.Hostname = "a\x00" }, want: []string{"hostname: contains a NUL byte"}},
	"names of 65 bytes": {
		change: func(s *specs.Spec) {
			s.Hostname = fmt.Sprintf("%065d", 0)
			s.Domainname = s.Hostname
		},
		want: []string{"hostname: has 65 bytes, must have at most 64", "domainname: has 65 bytes, must have at most 64"},
	},
	"an empty key of annotations": {
		change: func(s *specs.Spec) { s.Annotations[""] = "x" },
		want:   []string{"annotations: has an empty key, keys must not be empty"},
	},
	"hooks with bad fields": {
		change: func(s *specs.Spec) {
			bad := func(n int) []specs.Hook {
				return []specs.Hook{{Path: "bin/x", Args: []string{"a", "\x00"}, Env: []string{"A"}, Timeout: &n}}
			}
			s.Hooks.Prestart = bad(0) //nolint:staticcheck // SA1019: still to be checked
			s.Hooks.CreateRuntime, s.Hooks.CreateContainer = bad(-1), bad(-1)
			s.Hooks.StartContainer, s.Hooks.Poststart, s.Hooks.Poststop = bad(-1), bad(-1), bad(-1)
		},
		want: func() (want []string) {
			for i, list := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
				at := "hooks." + list + "[0]"
				want = append(want, at+`.path: is "bin/x", must be an absolute path`, at+".args[1]: contains a NUL byte",
					at+`.env[0]: has no "=", must be name=value`,
					at+fmt.Sprintf(".timeout: is %d, must be greater than 0 seconds", -min(i, 1)))
			}
			return want
		}(),
	},
	"a hook without a path": {
		change: func(s *specs.Spec) { s.Hooks.Poststop[0].Path = "" },
		want:   []string{"hooks.poststop[0].path: must not be empty"},
	},
	"problems everywhere, in the order of the config": {
		change: func(s *specs.Spec) {
			s.Linux.RootfsPropagation = "x"
			s.Mounts[0].Destination = ""
			s.Process.Args = nil
			s.Version = ""
		},
		want: []string{
			"ociVersion: must not be empty",
			"process.args: args must not be empty",
			"mounts[0].destination: must not be empty",
			`linux.rootfsPropagation: is "x", must be one of shared, slave, private, unbindable, or the same with r in front`,
		},
	},
}

func TestVersionsOfMajorOneAreTaken(t *testing.T) {
	for _, version := range []string{"1.0.0", "1.0.0-rc1", "1.0.2-dev", "1.2.1+dev", "1.3.0-rc.1+build.7", "1.99.10"} {
		if rule := versionRule(version); rule != "" {
			t.Errorf("%s: %s", version, rule)
		}
	}
}

func TestErrorIsOneLineThatAsFinds(t *testing.T) {
	spec := load(t, "full.json")
	spec.Process.Args = nil
	spec.Mounts[3].Destination = "\n\x00"
	err := fmt.Errorf("config.json: %w", &Error{Problems: Spec(spec, &root)})
	const want = "config.json: process.args: args must not be empty; mounts[3].destination: contains a NUL byte"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	var found *Error
	if !errors.As(err, &found) || len(found.Problems) != 2 {
		t.Fatalf("errors.As found %+v", found)
	}
	if got := found.Problems[1]; got.Path != "mounts[3].destination" || got.Ref != "config.md#mounts" {
		t.Errorf("got %+v", got)
	}
}

func TestProcessTellsWhereItComesFrom(t *testing.T) {
	bad := &specs.Process{Cwd: "x", Args: []string{"a"}, Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_X"}}}
	for name, test := range map[string]struct {
		p    *specs.Process
		path string
		want []string
	}{
		"part of a config":        {bad, "process", []string{`process.cwd: is "x", must be an absolute path`}},
		"a file of its own":       {bad, "", []string{`cwd: is "x", must be an absolute path`}},
		"no process in a config":  {nil, "process", []string{"process: must be specified"}},
		"null in a file":          {nil, "", []string{"must be specified"}},
		"ids are not mapped here": {&specs.Process{Cwd: "/", Args: []string{"a"}, User: specs.User{UID: math.MaxUint32}}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, texts(Process(test.p, test.path, &root))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPathsQuoteKeysThatAreNoWords(t *testing.T) {
	long := fmt.Sprintf("%065d", 0)
	got := map[string]string{}
	want := map[string]string{
		"eth0": "a.eth0", "a.b": `a["a.b"]`, "": `a[""]`, "a\n": `a["a\n"]`,
		long: `a["` + long[:64] + `"…]`,
	}
	for key := range maps.Keys(want) {
		got[key] = member("a", key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}
