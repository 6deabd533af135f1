package networks_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/user"

	"github.com/gantry-containers/gantry/engine/container"
)

// withUsers is a container that has users of its own, and publishes a port.
func (f fixture) withUsers(t *testing.T, name string, networks ...string) *container.Container {
	t.Helper()
	c, err := f.store.Update(f.in(t, name, networks...).ID, func(c *container.Container) error {
		c.IDs = user.IdentityMapping{UIDMaps: []user.IDMap{{ParentID: 100000, Count: 65536}}, GIDMaps: []user.IDMap{{ParentID: 100000, Count: 65536}}}
		c.HostConfig.PortBindings = network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "8080"}}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The network of a container with users of its own is made in the namespace that its runtime made for them.
func TestOwnUsers(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/30")
	c := f.withUsers(t, "one", "net1")
	for range 2 {
		a, err := f.Prepare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if a.Namespace != "" || f.devices.left() != "[] []" || len(f.keeper.ports)+len(f.keeper.names) != 0 {
			t.Errorf("before there is a namespace: %q, %s, %v, %v", a.Namespace, f.devices.left(), f.keeper.ports, f.keeper.names)
		}
		// An engine that is killed here finds it, and gives its address back.
		f.Service = f.open(t)
		if f.Settings(c).SandboxKey == "" {
			t.Error("the next engine does not know of it")
		}
		f.Sweep(t.Context())
	}
	c = f.runs(t, c)
	ns := f.Settings(c).SandboxKey
	if got, want := f.devices.left(), "["+ns+" eth0] ["+filepath.Base(ns)+"]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if r := f.devices.routes[ns]; r.IPv4.Via.String() != "10.1.0.1" || f.keeper.names[c.ID].Namespace != ns || len(f.keeper.ports[c.ID]) == 0 {
		t.Errorf("%+v, %+v, %v", r, f.keeper.names[c.ID], f.keeper.ports)
	}
	if err := f.ConnectContainer(t.Context(), "bridge", "one", nil); err != nil {
		t.Fatal(err)
	}
	if got := f.devices.left(); !strings.Contains(got, ns+" eth1") {
		t.Error(got)
	}
	f.Service = f.open(t)
	f.Sweep(t.Context())
	if f.Settings(c).SandboxKey != ns || f.keeper.names[c.ID].Namespace != ns {
		t.Errorf("the next engine: %q, %+v", f.Settings(c).SandboxKey, f.keeper.names[c.ID])
	}
	if f.devices.lent[ns] != inode || f.keeper.names[c.ID].Inode != inode {
		t.Errorf("of the process that keeps the namespace the next engine says: %d, %+v", f.devices.lent[ns], f.keeper.names[c.ID])
	}
	if err := f.Release(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := f.devices.left(); got != "[] []" {
		t.Errorf("left: %s", got)
	}
}

// What a container with users of its own had taken is free again when its network cannot be made.
func TestOwnUsersFail(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/30")
	c := f.withUsers(t, "one", "net1")
	for _, test := range []struct {
		fail  error
		taken bool
		pid   int
		text  string
	}{
		{errors.New("no veth"), false, 77, "no veth"},
		{nil, false, 78, "/proc/78/ns/net is nobody's"},
		{nil, true, 77, "failed to bind host port tcp 0.0.0.0:8080: address already in use by sshd (pid 12)"},
	} {
		if _, err := f.Prepare(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		f.devices.fail, f.keeper.taken[8080] = test.fail, test.taken
		err := f.Connect(t.Context(), c, test.pid)
		if err == nil || !strings.HasPrefix(err.Error(), "failed to set up container networking: ") || !strings.HasSuffix(err.Error(), test.text) {
			t.Errorf("%v, want %s", err, test.text)
		}
		f.Close()
		entries, err := os.ReadDir(filepath.Join(f.dir, "run", "sandboxes"))
		if got := f.devices.left(); got != "[] []" || err != nil || len(entries) != 0 || len(f.keeper.names)+len(f.keeper.ports) != 0 {
			t.Errorf("%s: left: %s, %v, %v, %v, %v", test.text, got, entries, err, f.keeper.names, f.keeper.ports)
		}
		f.devices.fail, f.keeper.taken[8080] = nil, false
	}
	f.runs(t, c)
}
