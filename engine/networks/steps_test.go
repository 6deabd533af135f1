package networks_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/networks"
)

// step makes a namespace as a builder does, and has it joined.
func (f fixture) step(t *testing.T, name string) *networks.Place {
	t.Helper()
	f.devices.steps["/bk/"+name] = true
	p, err := f.JoinStep(t.Context(), name, "/bk/"+name, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// nothing says what is left of steps.
func (f fixture) nothing(t *testing.T) {
	t.Helper()
	f.Close()
	entries, err := os.ReadDir(filepath.Join(f.dir, "run", "sandboxes"))
	if got := f.devices.left(); got != "[] []" || err != nil || len(entries) != 0 {
		t.Errorf("left: %s, %v, %v", got, entries, err)
	}
	if used := f.used(t); used != 3 { // the first, the last and the bridge's
		t.Errorf("%d addresses are in use", used)
	}
}

// used counts addresses of the default bridge.
func (f fixture) used(t *testing.T) uint64 {
	t.Helper()
	n, err := f.Inspect("bridge")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range n.Status.IPAM.Subnets {
		return s.IPsInUse
	}
	t.Fatal("the default bridge has no addresses")
	return 0
}

// A step has a place on the default bridge as a container has, but is none.
func TestStep(t *testing.T) {
	f := fix(t)
	f.config.ICC = false
	f.Service = f.open(t)
	p := f.step(t, "one")
	if p.Device != "eth0" || p.IPv4.String() != "172.17.0.2/16" || p.Gateway4.String() != "172.17.0.1" || p.IPv6.IsValid() {
		t.Errorf("%+v", p)
	}
	l, found := f.devices.links, false
	for key, link := range l {
		found = link.MAC.String() == p.MAC.String() && link.Bridge == "docker0" && link.Isolated && strings.HasSuffix(key, " eth0")
		if r := f.devices.routes[strings.TrimSuffix(key, " eth0")]; r.IPv4.Via != p.Gateway4 || r.IPv4.Link != "eth0" {
			t.Errorf("%+v", r)
		}
	}
	if len(l) != 1 || !found {
		t.Errorf("%+v", l)
	}
	n, err := f.Inspect("bridge")
	if err != nil || len(n.Containers) != 0 || f.used(t) != 4 {
		t.Errorf("%+v, %d, %v", n.Containers, f.used(t), err)
	}
	if s := f.Step("one"); s == nil || s.IPv4 != p.IPv4 {
		t.Errorf("%+v", s)
	}
	if len(*f.events) != 0 {
		t.Error(*f.events)
	}
	c := f.runs(t, f.in(t, "box", "bridge"))
	if got := f.Settings(c).Networks["bridge"].IPAddress.String(); got != "172.17.0.3" {
		t.Error(got)
	}
	if err := f.LeaveStep(t.Context(), c.ID); err != nil || f.Settings(c).SandboxKey == "" || f.Step(c.ID) != nil {
		t.Errorf("a container is a step: %v", err)
	}
	if err := f.Release(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.LeaveStep(t.Context(), "one"); err != nil {
			t.Error(err)
		}
	}
	if f.Step("one") != nil {
		t.Error("it is still there")
	}
	f.nothing(t)
}

// A place is for one build: the builder may keep the namespace for the next one.
func TestStepAgain(t *testing.T) {
	f := fix(t)
	f.devices.hold = make(chan struct{})
	first := f.step(t, "one")
	if again := f.step(t, "one"); again.IPv4 != first.IPv4 || f.used(t) != 4 {
		t.Errorf("%+v, %d", again, f.used(t))
	}
	f.step(t, "two")
	left := make(chan error)
	go func() { left <- f.LeaveSteps(t.Context()) }()
	joined := make(chan *networks.Place)
	go func() {
		for f.Step("one") != nil { // It has not begun to leave.
			time.Sleep(time.Millisecond)
		}
		p, err := f.JoinStep(t.Context(), "one", "/bk/one", "eth0")
		if err != nil {
			t.Error(err)
		}
		joined <- p
	}()
	close(f.devices.hold)
	if err := <-left; err != nil {
		t.Error(err)
	}
	if p := <-joined; p == nil || len(f.devices.links) != 1 || f.used(t) != 4 {
		t.Errorf("%+v, %v, %d", p, f.devices.links, f.used(t))
	}
	if err := f.LeaveSteps(t.Context()); err != nil {
		t.Error(err)
	}
	f.nothing(t)
}

// The next engine knows what steps have, and does not take them for containers that do not run.
func TestStepsOfEnginesBefore(t *testing.T) {
	f := fix(t)
	first := f.step(t, "one")
	f.Service = f.open(t)
	f.Sweep(t.Context())
	f.Close()
	if p := f.Step("one"); p == nil || p.IPv4 != first.IPv4 || len(f.devices.links) != 1 {
		t.Errorf("%+v, %v", p, f.devices.links)
	}
	if p := f.step(t, "two"); p.IPv4 == first.IPv4 {
		t.Error("two have the same address")
	}
	if err := f.LeaveSteps(t.Context()); err != nil {
		t.Error(err)
	}
	f.nothing(t)
}

func TestStepFails(t *testing.T) {
	f := fix(t)
	f.step(t, "one")
	f.devices.steps["/bk/other"], f.devices.steps["/bk/vanishing"], f.devices.vanishing = true, true, "/bk/vanishing"
	for _, test := range []struct {
		step, namespace, device string
		fail                    error
		kind                    func(error) bool
	}{
		{"../one", "/bk/other", "eth0", nil, errdefs.IsInvalidArgument},
		{strings.Repeat("a", 64), "/bk/other", "eth0", nil, errdefs.IsInvalidArgument},
		{"one", "/bk/other", "eth0", nil, errdefs.IsAlreadyExists},
		{"two", "/bk/none", "eth0", nil, errdefs.IsInvalidArgument},
		{"two", "/bk/vanishing", "eth0", nil, errdefs.IsInvalidArgument},
		{"two", "/bk/other", "eth/0", nil, errdefs.IsInvalidArgument},
		{"two", "/bk/other", "eth0", errors.New("no veth"), func(err error) bool { return err.Error() == "no veth" }},
	} {
		f.devices.fail = test.fail
		if _, err := f.JoinStep(t.Context(), test.step, test.namespace, test.device); err == nil || !test.kind(err) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	f.devices.fail = nil
	if err := f.LeaveStep(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	f.nothing(t)
	f.config.Bridge = networks.Disabled
	f.Service = f.open(t)
	if _, err := f.JoinStep(t.Context(), "one", "/bk/other", "eth0"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if _, err := f.Inspect(network.NetworkBridge); err == nil {
		t.Error("there is a default bridge")
	}
}
