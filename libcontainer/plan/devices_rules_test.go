package plan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const usual = "deny a *:* rwm; allow b *:* m; allow c *:* m; allow c 1:3 rwm; allow c 1:5 rwm; allow c 1:7 rwm; " +
	"allow c 1:8 rwm; allow c 1:9 rwm; allow c 5:0 rwm; allow c 5:2 rwm; allow c 10:200 rwm; allow c 136:* rwm"

func deviceSpec(t *testing.T, rules string, paths ...string) *specs.Spec {
	t.Helper()
	spec := &specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
	if err := json.Unmarshal([]byte("["+rules+"]"), &spec.Linux.Resources.Devices); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{Path: path, Type: "c"})
	}
	return spec
}

func render(rules []DeviceRule) string {
	lines := make([]string, len(rules))
	for i := range rules {
		lines[i] = rules[i].String()
	}
	return strings.Join(lines, "; ")
}

func TestDeviceRules(t *testing.T) {
	const deny = `{"allow":false,"access":"rwm"}`
	tail := strings.TrimPrefix(usual, "deny a *:* rwm; ")
	for _, c := range []struct {
		name  string
		spec  *specs.Spec
		want  string
		fails string
	}{
		{name: "no linux object denies all but the defaults", spec: &specs.Spec{}, want: usual},
		{name: "no rules deny all but the defaults", spec: deviceSpec(t, ""), want: usual},
		{name: "deny all is what there is", spec: deviceSpec(t, deny), want: usual},
		{
			name: "a default that is allowed already appears once", spec: deviceSpec(t, deny+`,{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}`),
			want: "deny a *:* rwm; allow c 1:3 rwm; " + strings.Replace(tail, "allow c 1:3 rwm; ", "", 1),
		},
		{
			name: "accesses to one device are merged", spec: deviceSpec(t, `{"allow":true,"type":"b","major":8,"minor":0,"access":"w"},{"allow":true,"type":"b","major":8,"minor":0,"access":"mr"}`),
			want: "deny a *:* rwm; allow b 8:0 rwm; " + tail,
		},
		{
			name: "a later deny takes access back", spec: deviceSpec(t, `{"allow":true,"type":"b","major":8,"minor":0,"access":"rw"},{"allow":false,"type":"b","major":8,"access":"w"}`),
			want: "deny a *:* rwm; allow b 8:0 r; " + tail,
		},
		{name: "deny all forgets what was before", spec: deviceSpec(t, `{"allow":true,"type":"b","major":8,"access":"rw"},`+deny), want: usual},
		{name: "an a among the letters says nothing", spec: deviceSpec(t, `{"allow":true,"access":"rwma"}`), want: "allow a *:* rwm"},
		{name: "allow all", spec: deviceSpec(t, `{"allow":true,"access":"rwm"}`), want: "allow a *:* rwm"},
		{
			name: "allow all but one", spec: deviceSpec(t, `{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"rw"}`),
			want: "allow a *:* rwm; deny b 8:* rw",
		},
		{
			name: "a number without type is not everything", spec: deviceSpec(t, `{"allow":true,"major":8,"minor":0,"access":"r"}`),
			want: "deny a *:* rwm; allow b 8:0 r; allow c 8:0 r; " + tail,
		},
		{
			name: "an access without numbers is not everything", spec: deviceSpec(t, `{"allow":true,"type":"a","access":"r"}`),
			want: "deny a *:* rwm; allow b *:* rm; allow c *:* rm; " + strings.TrimPrefix(tail, "allow b *:* m; allow c *:* m; "),
		},
		{
			name: "a wider rule makes a default superfluous", spec: deviceSpec(t, `{"allow":true,"type":"c","access":"rwm"}`),
			want: "deny a *:* rwm; allow c *:* rwm; allow b *:* m",
		},
		{
			name: "a configured device has the author's rules only", spec: deviceSpec(t, "", "/dev/null", "/dev/fuse"),
			want: strings.Replace(usual, "allow c 1:3 rwm; ", "", 1),
		},
		{
			name: "a hole in an allowed range", spec: deviceSpec(t, `{"allow":true,"type":"c","major":4,"access":"rw"},{"allow":false,"type":"c","major":4,"minor":1,"access":"w"}`),
			fails: "linux.resources.devices[1]: cannot punch a hole (deny c 4:1 w) in the wider rule before it (allow c 4:* rw)",
		},
		{
			name: "a hole across an allowed range", spec: deviceSpec(t, `{"allow":true,"type":"c","major":4,"access":"rw"},{"allow":false,"type":"c","minor":1,"access":"w"}`),
			fails: "linux.resources.devices[1]: cannot punch a hole (deny c *:1 w) in the wider rule before it (allow c 4:* rw)",
		},
		{name: "access is missing", spec: deviceSpec(t, `{"allow":true}`), fails: "linux.resources.devices[0].access: missing"},
		{name: "access is unknown", spec: deviceSpec(t, `{"allow":true,"access":"rx"}`), fails: `linux.resources.devices[0].access: "rx" has other letters than r, w and m`},
		{name: "type is unknown", spec: deviceSpec(t, `{"allow":true,"type":"p","access":"r"}`), fails: `linux.resources.devices[0].type: "p" is none of a, b and c`},
		{name: "major is negative", spec: deviceSpec(t, `{"allow":true,"major":-2,"access":"r"}`), fails: "linux.resources.devices[0].major: no device has such a number"},
		{name: "minor is huge", spec: deviceSpec(t, `{"allow":true,"minor":4294967296,"access":"r"}`), fails: "linux.resources.devices[0].minor: no device has such a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := deviceRules(c.spec)
			got, failure := render(rules), ""
			if err != nil {
				failure = err.Error()
			}
			if diff := cmp.Diff([2]string{c.want, c.fails}, [2]string{got, failure}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
