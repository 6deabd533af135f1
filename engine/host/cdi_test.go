package host

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const description = `{
	"cdiVersion": "0.6.0", "kind": "v.com/d",
	"devices": [{"name": "one", "containerEdits": {"env": ["ONE=1"], "deviceNodes": [{"path": "/dev/null"}]}}]
}`

func TestCDI(t *testing.T) {
	c := CDI{Dirs: []string{tree(t, map[string]string{"v.json": description}), "/nowhere"}}
	if v := c.ListVendors(); !slices.Equal(v, []string{"v.com"}) {
		t.Errorf("vendors %q", v)
	}
	if d := c.Devices(); !slices.Equal(d, []string{"v.com/d=one"}) {
		t.Errorf("devices %q", d)
	}
	s := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
	if _, err := c.InjectDevices(s, "v.com/d=one"); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Process.Env, "ONE=1") || len(s.Linux.Devices) != 1 || s.Linux.Devices[0].Path != "/dev/null" {
		t.Errorf("got %+v, %+v", s.Process, s.Linux)
	}
	unknown, err := c.InjectDevices(s, "v.com/d=two")
	if err == nil || !strings.Contains(err.Error(), "unresolvable CDI devices v.com/d=two") || !slices.Equal(unknown, []string{"v.com/d=two"}) {
		t.Errorf("an unknown device: %q, %v", unknown, err)
	}
}
