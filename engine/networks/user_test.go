package networks_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// create makes a network with subnets.
func (f fixture) create(t *testing.T, name string, subnets ...string) {
	t.Helper()
	made, err := f.Create(t.Context(), request(name, subnets...))
	if err != nil || len(made.ID) != 64 {
		t.Fatal(made, err)
	}
}

func request(name string, subnets ...string) network.CreateRequest {
	req := network.CreateRequest{Name: name}
	six := false
	if len(subnets) > 0 {
		req.IPAM = &network.IPAM{}
	}
	for _, s := range subnets {
		p := netip.MustParsePrefix(s)
		six = six || p.Addr().Is6()
		req.IPAM.Config = append(req.IPAM.Config, network.IPAMConfig{Subnet: p})
	}
	req.EnableIPv6 = &six
	return req
}

func (f fixture) in(t *testing.T, name string, networks ...string) *container.Container {
	t.Helper()
	c := f.add(t, name, networks[0], 0)
	c, err := f.store.Update(c.ID, func(c *container.Container) error {
		c.Endpoints = map[string]*network.EndpointSettings{}
		for _, n := range networks {
			c.Endpoints[n] = &network.EndpointSettings{}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refused(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	if err == nil || err.Error() != text || httpapi.Status(err) != code {
		t.Errorf("%s: %v (%d), want %s (%d)", what, err, httpapi.Status(err), text, code)
	}
}

func TestCreateRefused(t *testing.T) {
	f := fix(t)
	f.create(t, "there", "10.1.0.0/16")
	with := func(change func(*network.CreateRequest), subnets ...string) network.CreateRequest {
		r := request("new", subnets...)
		change(&r)
		return r
	}
	option := func(k, v string) func(*network.CreateRequest) {
		return func(r *network.CreateRequest) { r.Options = map[string]string{k: v} }
	}
	plain := func(*network.CreateRequest) {}
	for what, test := range map[string]struct {
		req  network.CreateRequest
		code int
		text string
	}{
		"no name":          {request(""), 400, "invalid name: name is empty"},
		"predefined":       {request("bridge"), 403, "operation is not permitted on predefined bridge network "},
		"a name again":     {request("there"), 409, "network with name there already exists"},
		"a second host":    {with(func(r *network.CreateRequest) { r.Driver = "host" }), 403, `only one instance of "host" network is allowed`},
		"overlap":          {with(plain, "10.1.2.0/24"), 403, "invalid pool request: Pool overlaps with other one on this address space"},
		"host bits":        {with(plain, "10.2.0.1/24"), 400, "invalid network config:\ninvalid subnet 10.2.0.1/24: it should be 10.2.0.0/24"},
		"two subnets":      {with(plain, "10.2.0.0/24", "10.3.0.0/24"), 403, "bridge driver doesn't support multiple subnets"},
		"link-local":       {with(plain, "10.2.0.0/24", "fe80::/60"), 400, "'fe80::1/60' clashes with the Link-Local prefix 'fe80::/64'"},
		"multicast":        {with(plain, "10.2.0.0/24", "ff00::/64"), 400, "multicast subnet 'ff00::1/64' is not allowed"},
		"MTU":              {with(option("com.docker.network.driver.mtu", "x")), 400, `failed to parse com.docker.network.driver.mtu value: x (strconv.Atoi: parsing "x": invalid syntax)`},
		"negative MTU":     {with(option("com.docker.network.driver.mtu", "-1")), 400, "invalid MTU number: -1"},
		"gateway mode":     {with(option("com.docker.network.bridge.gateway_mode_ipv4", "x")), 400, "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: x (unknown gateway mode x)"},
		"isolated outside": {with(option("com.docker.network.bridge.gateway_mode_ipv4", "isolated")), 500, "gateway mode 'isolated' can only be used for an internal network"},
		"no family":        {with(func(r *network.CreateRequest) { r.EnableIPv4 = r.EnableIPv6 }), 400, "IPv4 or IPv6 must be enabled"},
		"no configuration": {with(func(r *network.CreateRequest) { r.ConfigFrom = &network.ConfigReference{Network: "x"} }), 404, `configuration network "x" does not exist`},
		"ipvlan":           {with(func(r *network.CreateRequest) { r.Driver = "ipvlan"; r.Options = map[string]string{"parent": "eth0"} }), 500, "the kernel of this machine has no ipvlan devices"},
		"macvlan on lo":    {with(func(r *network.CreateRequest) { r.Driver = "macvlan"; r.Options = map[string]string{"parent": "lo"} }), 500, "loopback interface is not a valid macvlan parent link"},
	} {
		_, err := f.Create(t.Context(), test.req)
		refused(t, what, err, test.code, test.text)
	}
	// Nothing of all that is left: all their subnets are free.
	for i, subnet := range []string{"10.2.0.0/24", "10.3.0.0/24"} {
		f.create(t, fmt.Sprint("free", i), subnet)
	}
	f.devices.mu.Lock()
	defer f.devices.mu.Unlock()
	if len(f.devices.bridges) != 4 {
		t.Errorf("bridges %v", f.devices.bridges)
	}
}

func TestCreateBroken(t *testing.T) {
	f := fix(t)
	f.devices.broken["br-x"] = true
	req := request("new", "10.1.0.0/24")
	req.Options = map[string]string{"com.docker.network.bridge.name": "br-x"}
	if _, err := f.Create(t.Context(), req); err == nil {
		t.Fatal("made")
	}
	delete(f.devices.broken, "br-x")
	f.filter.fail = errors.New("no rules")
	if _, err := f.Create(t.Context(), req); err == nil || !strings.Contains(err.Error(), "no rules") {
		t.Fatal(err)
	}
	f.filter.fail = nil
	if _, err := f.Inspect("new"); err == nil {
		t.Error("a network is left")
	}
	f.create(t, "again", "10.1.0.0/24")
	if again, err := f.open(t).List(nil); err != nil || len(again) != 4 {
		t.Errorf("%v, %v", again, err)
	}
}

func TestUserNetwork(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/24", "fd00:1::/64")
	one := f.runs(t, f.in(t, "one", "net1"))
	two := f.in(t, "two", "net1")
	two.Endpoints["net1"] = &network.EndpointSettings{Aliases: []string{"zwei"}, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.1.0.77")}}
	two = f.runs(t, two)
	e := f.Settings(two).Networks["net1"]
	if e.IPAddress.String() != "10.1.0.77" || e.IPPrefixLen != 24 || e.Gateway.String() != "10.1.0.1" || e.GlobalIPv6Address.String() != "fd00:1::3" || e.IPv6Gateway.String() != "fd00:1::1" || len(e.MacAddress) != 6 {
		t.Errorf("%+v", e)
	}
	if got := read(t, filepath.Join(f.store.Dir(two.ID), "hosts")); !strings.HasSuffix(got, "\n10.1.0.77\ttwo.dom two\nfd00:1::3\ttwo.dom two\n") {
		t.Error(got)
	}
	if got := read(t, filepath.Join(f.store.Dir(two.ID), "resolv.conf")); !strings.Contains(got, "\nnameserver 127.0.0.11\n") {
		t.Error(got)
	}
	names := f.keeper.names[two.ID]
	if got := fmt.Sprint(names.Endpoints); !strings.Contains(got, "[two zwei "+two.ID[:12]+"] [10.1.0.77 fd00:1::3]") {
		t.Error(got)
	}
	err := f.Remove(t.Context(), "net1")
	if err == nil || !strings.HasPrefix(err.Error(), `error while removing network: network net1 has active endpoints (name:"one" id:`) || httpapi.Status(err) != 403 {
		t.Error(err)
	}
	for _, c := range []*container.Container{one, two} {
		if err := f.Release(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if got := f.devices.left(); got != "[] []" {
		t.Errorf("left: %s", got)
	}
	n, err := f.Inspect("net1")
	if err != nil || n.Status.IPAM.Subnets[netip.MustParsePrefix("10.1.0.0/24")].IPsInUse != 3 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := f.Remove(t.Context(), "net1"); err != nil {
		t.Fatal(err)
	}
	if len(f.filter.rules.Networks) != 1 || len(f.keeper.names) != 0 {
		t.Errorf("rules %+v, names %v", f.filter.rules, f.keeper.names)
	}
}

// What a start that fails had taken is free again.
func TestStartFails(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/30")
	c := f.in(t, "one", "net1")
	f.devices.fail = errors.New("no veth")
	if _, err := f.Prepare(t.Context(), c); err == nil || err.Error() != "failed to set up container networking: no veth" {
		t.Fatal(err)
	}
	f.devices.fail = nil
	f.runs(t, c)
	_, err := f.Prepare(t.Context(), f.in(t, "two", "net1"))
	if err == nil || !strings.Contains(err.Error(), "no available IPv4 addresses on this network's address pools: net1 (") {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Join(f.dir, "run", "sandboxes"))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// A container that starts again waits until its old devices are gone, and has its old address then.
func TestRestartKeepsAddress(t *testing.T) {
	f := fix(t)
	c := f.runs(t, f.in(t, "one", "bridge"))
	f.devices.hold = make(chan struct{})
	if err := f.Release(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Prepare(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("did not wait: %v", err)
	}
	close(f.devices.hold)
	f.runs(t, c)
	if got := f.Settings(c).Networks["bridge"]; got == nil || f.Settings(c).SandboxID == "" {
		t.Errorf("%+v", got)
	}
}

func TestLive(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/24")
	f.create(t, "net2", "10.2.0.0/24")
	c := f.runs(t, f.in(t, "one", "bridge"))
	ns := f.Settings(c).SandboxKey
	ctx := t.Context()
	if err := f.ConnectContainer(ctx, "net1", "one", &network.EndpointSettings{Aliases: []string{"eins"}, GwPriority: 3}); err != nil {
		t.Fatal(err)
	}
	c, err := f.store.Get("one")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Settings(c).Networks["net1"]; got.IPAddress.String() != "10.1.0.2" || !slices.Equal(got.DNSNames, []string{"one", "eins", c.ID[:12]}) {
		t.Errorf("%+v", got)
	}
	if r := f.devices.routes[ns]; r.IPv4.Link != "eth1" || r.IPv4.Via.String() != "10.1.0.1" {
		t.Errorf("routes %+v", r)
	}
	if got := read(t, filepath.Join(f.store.Dir(c.ID), "hosts")); !strings.HasSuffix(got, "\n172.17.0.2\tone.dom one\n10.1.0.2\tone.dom one\n") {
		t.Error(got)
	}
	if got := read(t, filepath.Join(f.store.Dir(c.ID), "resolv.conf")); !strings.Contains(got, "nameserver 127.0.0.11\n") {
		t.Error(got)
	}
	refused(t, "again", f.ConnectContainer(ctx, "net1", "one", nil), 403, "endpoint with name one already exists in network net1")
	bad := &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.9.9.9")}}
	refused(t, "outside", f.ConnectContainer(ctx, "net2", "one", bad), 400, "invalid endpoint settings:\nno configured subnet contains IP address 10.9.9.9")
	f.devices.fail = errors.New("no veth")
	refused(t, "failing", f.ConnectContainer(ctx, "net2", "one", nil), 500, "no veth")
	f.devices.fail = nil
	if n, err := f.Inspect("net2"); err != nil || len(n.Containers) != 0 || n.Status.IPAM.Subnets[netip.MustParsePrefix("10.2.0.0/24")].IPsInUse != 3 {
		t.Errorf("%+v, %v", n, err)
	}
	for range 2 {
		err = f.DisconnectContainer(ctx, "net1", "one", false)
		if c, _ = f.store.Get("one"); c.Endpoints["net1"] != nil {
			t.Error("it is in the record still")
		}
	}
	refused(t, "twice", err, 500, "container "+c.ID+" is not connected to network net1")
	if r := f.devices.routes[ns]; r.IPv4.Link != "eth0" {
		t.Errorf("routes %+v", r)
	}
	if got := read(t, filepath.Join(f.store.Dir(c.ID), "hosts")); strings.Contains(got, "10.1.0.2") {
		t.Error(got)
	}
	want := told{"create net1 bridge", "create net2 bridge", "connect bridge bridge", "connect net1 bridge", "disconnect net1 bridge"}
	if !slices.Equal(*f.events, want) {
		t.Errorf("%v", *f.events)
	}
}

// A container that does not run is connected in its record alone.
func TestConnectStopped(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/24")
	f.in(t, "one", "bridge")
	f.in(t, "plain", "none")
	ctx := t.Context()
	for what, test := range map[string]struct {
		err  error
		code int
		text string
	}{
		"nobody":        {f.ConnectContainer(ctx, "bridge", "", nil), 400, `invalid name or ID supplied: ""`},
		"a stranger":    {f.ConnectContainer(ctx, "bridge", "x", nil), 404, "No such container: x"},
		"to host":       {f.ConnectContainer(ctx, "host", "one", nil), 400, "cannot connect container to host network - container must be created in host network mode"},
		"beside none":   {f.ConnectContainer(ctx, "net1", "plain", nil), 400, "container cannot be connected to multiple networks with one of the networks in private (none) mode"},
		"not connected": {f.DisconnectContainer(ctx, "net1", "plain", false), 500, "container PLAIN is not connected to the network net1"},
		"remove none":   {f.Remove(ctx, "none"), 403, "none is a pre-defined network and cannot be removed"},
		"remove what":   {f.Remove(ctx, "nope"), 404, "network nope not found"},
	} {
		c, _ := f.store.Get("plain")
		refused(t, what, test.err, test.code, strings.ReplaceAll(test.text, "PLAIN", c.ID))
	}
	for _, name := range []string{"net1", "later"} {
		if err := f.ConnectContainer(ctx, name, "one", nil); err != nil {
			t.Error(err)
		}
	}
	c, _ := f.store.Get("one")
	if len(c.Endpoints) != 3 {
		t.Errorf("%v", c.Endpoints)
	}
	if _, err := f.Prepare(ctx, c); err == nil || err.Error() != "failed to set up container networking: network later not found" {
		t.Error(err)
	}
	for _, name := range []string{"net1", "later"} {
		if err := f.DisconnectContainer(ctx, name, "one", true); err != nil {
			t.Error(err)
		}
	}
}

func TestPorts(t *testing.T) {
	f := fix(t)
	publish := func(name string, bindings network.PortMap) (*container.Container, error) {
		c := f.in(t, name, "bridge")
		c.HostConfig = &api.HostConfig{NetworkMode: "bridge", PortBindings: bindings}
		_, err := f.Prepare(t.Context(), c)
		return c, err
	}
	port := network.MustParsePort
	to := func(ip, number string) network.PortBinding {
		b := network.PortBinding{HostPort: number}
		if ip != "" {
			b.HostIP = netip.MustParseAddr(ip)
		}
		return b
	}
	f.keeper.taken[9001], f.keeper.taken[22] = true, true
	c, err := publish("one", network.PortMap{
		port("80/tcp"): {to("", "8080")}, port("81/udp"): {to("127.0.0.1", "8081")}, port("82/tcp"): {to("0.0.0.0", "9001-9003")},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := f.Settings(c).Ports
	if fmt.Sprint(got[port("80/tcp")]) != "[{0.0.0.0 8080} {:: 8080}]" || fmt.Sprint(got[port("81/udp")]) != "[{127.0.0.1 8081}]" || fmt.Sprint(got[port("82/tcp")]) != "[{0.0.0.0 9002}]" {
		t.Errorf("%v", got)
	}
	if rules := f.filter.rules.Networks[0].Ports; len(rules) != 4 || rules[0].Container.Addr().String() != "172.17.0.2" {
		t.Errorf("%+v", rules)
	}
	for what, test := range map[string]struct {
		bindings network.PortMap
		text     string
	}{
		"another container's": {network.PortMap{port("1/tcp"): {to("127.0.0.1", "8080")}}, "Bind for 127.0.0.1:8080 failed: port is already allocated by container one"},
		"a program's":         {network.PortMap{port("1/tcp"): {to("0.0.0.0", "22")}}, "failed to bind host port tcp 0.0.0.0:22: address already in use by sshd (pid 12)"},
	} {
		_, err := publish(strings.ReplaceAll(what, " ", "_")[:8], test.bindings)
		if err == nil || !strings.HasSuffix(err.Error(), test.text) || !strings.HasPrefix(err.Error(), "failed to set up container networking: driver failed programming external connectivity on endpoint ") || httpapi.Status(err) != 500 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(f.keeper.ports) != 1 {
		t.Errorf("held: %v", f.keeper.ports)
	}
	if err := f.Release(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if len(f.keeper.ports) != 0 || len(f.filter.rules.Networks[0].Ports) != 0 {
		t.Errorf("left: %v, %+v", f.keeper.ports, f.filter.rules)
	}
	// Two who want any get two.
	numbers := map[string]bool{}
	for _, name := range []string{"two", "three"} {
		c, err := publish(name, network.PortMap{port("80/tcp"): {to("", "")}})
		if err != nil {
			t.Fatal(err)
		}
		b := f.Settings(c).Ports[port("80/tcp")]
		if len(b) != 2 || b[0].HostPort != b[1].HostPort {
			t.Errorf("%v", b)
		}
		numbers[b[0].HostPort] = true
	}
	if len(numbers) != 2 {
		t.Errorf("%v", numbers)
	}
}

// The next engine finds all of it, and takes away what the one before had half-made.
func TestRestart(t *testing.T) {
	f := fix(t)
	f.create(t, "net1", "10.1.0.0/24")
	lives := f.runs(t, f.in(t, "lives", "net1"))
	half := f.in(t, "half", "net1")
	half.HostConfig.PortBindings = network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "8080"}}}
	if _, err := f.Prepare(t.Context(), half); err != nil {
		t.Fatal(err)
	}
	before := f.Settings(lives)
	f.devices.namespaces["stray"] = true
	delete(f.keeper.names, lives.ID)
	f.keeper.ports["gone"] = nil
	again := f
	again.Service = f.open(t)
	if fmt.Sprint(again.Settings(lives)) == "" || again.Settings(lives).SandboxID != before.SandboxID || again.Settings(lives).Networks["net1"].EndpointID != before.Networks["net1"].EndpointID {
		t.Errorf("%+v, before %+v", again.Settings(lives), before)
	}
	again.Sweep(t.Context())
	again.Close()
	if got := f.devices.left(); strings.Contains(got, "stray") || strings.Count(got, "eth0") != 1 {
		t.Error(got)
	}
	if len(f.keeper.ports) != 0 || len(f.keeper.names) != 1 {
		t.Errorf("ports %v, names %v", f.keeper.ports, f.keeper.names)
	}
	next := again.runs(t, again.in(t, "next", "net1"))
	if got := again.Settings(next).Networks["net1"].IPAddress.String(); got != "10.1.0.3" {
		t.Errorf("the next one's address is %s", got)
	}
	if err := again.Release(t.Context(), lives); err != nil {
		t.Fatal(err)
	}
	if n := len(*f.events); n == 0 || (*f.events)[n-1] != "disconnect net1 bridge" {
		t.Errorf("%v", *f.events)
	}
}

func TestDefaultBridge(t *testing.T) {
	for what, test := range map[string]struct {
		change func(*config.Network, *devices)
		want   string
	}{
		"plain": {func(*config.Network, *devices) {}, "docker0 172.17.0.0/16 172.17.0.1"},
		"taken": {func(_ *config.Network, d *devices) {
			d.networks = []netip.Prefix{netip.MustParsePrefix("172.17.0.0/20")}
		}, "docker0 172.18.0.0/16 172.18.0.1"},
		"there before": {func(_ *config.Network, d *devices) {
			d.addresses["docker0"] = []netip.Prefix{netip.MustParsePrefix("10.5.0.1/24")}
		}, "docker0 10.5.0.0/24 10.5.0.1"},
		"bip":   {func(c *config.Network, _ *devices) { c.BridgeIP = "10.6.0.9/24" }, "docker0 10.6.0.0/24 10.6.0.9"},
		"fixed": {func(c *config.Network, _ *devices) { c.BridgeIP, c.FixedCIDR = "10.6.0.9/16", "10.6.4.0/24" }, "docker0 10.6.0.0/16 10.6.0.9 10.6.4.0/24"},
		"pools": {func(c *config.Network, _ *devices) {
			c.Pools = []config.Pool{{Base: netip.MustParsePrefix("10.7.0.0/16"), Size: 24}}
		}, "docker0 10.7.0.0/24 10.7.0.1"},
		"another": {func(c *config.Network, _ *devices) { c.Bridge = "br7" }, "br7 172.17.0.0/16 172.17.0.1"},
	} {
		f := fix(t)
		f.dir = t.TempDir()
		test.change(f.config, f.devices)
		n, err := f.open(t).Inspect("bridge")
		if err != nil {
			t.Fatal(err)
		}
		c := n.IPAM.Config[0]
		got := fmt.Sprintf("%s %s %s", n.Options["com.docker.network.bridge.name"], c.Subnet, c.Gateway)
		if c.IPRange.IsValid() {
			got += " " + c.IPRange.String()
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", what, got, test.want)
		}
	}
	f := fix(t)
	f.config.Bridge = "none"
	f.Service = f.open(t)
	if _, err := f.Inspect("bridge"); err == nil {
		t.Error("there is a default bridge")
	}
	if a, err := f.Prepare(t.Context(), f.add(t, "alone", "bridge", 0)); err != nil || a.Namespace == "" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestForwarding(t *testing.T) {
	f := fix(t)
	if !f.filter.rules.Forwarding.IPv4 {
		t.Error("a router was made of the machine")
	}
	if f.filter.rules.Forwarding.IPv6 {
		t.Error("IPv6 is forwarded for nobody")
	}
	f.create(t, "six", "10.1.0.0/24", "fd00::/64")
	if !f.filter.rules.Forwarding.IPv6 {
		t.Error("a router was made of the machine, for IPv6")
	}
	// It stays so for the next engine, which finds the switches on.
	f.open(t)
	if !f.filter.rules.Forwarding.IPv4 || !f.filter.rules.Forwarding.IPv6 {
		t.Errorf("%+v", f.filter.rules)
	}
}

func TestMend(t *testing.T) {
	f := fix(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { f.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	if err := f.devices.Remove("docker0"); err != nil {
		t.Fatal(err)
	}
	// Each is taken when the one before is done.
	for range 70 {
		f.devices.lost <- "docker0"
	}
	if there, _ := f.devices.Exists("docker0"); !there {
		t.Error("the bridge is gone")
	}
}

func TestPrune(t *testing.T) {
	f := fix(t)
	f.create(t, "used", "10.1.0.0/24")
	f.create(t, "aa", "10.2.0.0/24")
	f.create(t, "bb", "10.3.0.0/24")
	f.runs(t, f.in(t, "one", "used"))
	if _, err := f.Prune(t.Context(), filters.Args{"x": {"y": true}}); err == nil {
		t.Error("pruned by an unknown filter")
	}
	r, err := f.Prune(t.Context(), filters.Args{"label!": {"keep": true}})
	if err != nil || fmt.Sprint(r.NetworksDeleted) != "[aa bb]" {
		t.Errorf("%+v, %v", r, err)
	}
	if all, err := f.List(filters.Args{"dangling": {"false": true}}); err != nil || len(all) != 4 {
		t.Errorf("%d, %v", len(all), err)
	}
}
