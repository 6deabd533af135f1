package firewall

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// every is one network of each kind.
func every() Rules {
	family := func(subnet, gateway, mode string) *Family {
		return &Family{Subnet: netip.MustParsePrefix(subnet), Gateway: netip.MustParseAddr(gateway), Masquerade: true, Mode: mode}
	}
	port := func(protocol, host, container string) Port {
		return Port{Protocol: protocol, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(container)}
	}
	source := family("172.21.0.0/16", "172.21.0.1", "")
	source.Source = netip.MustParseAddr("192.0.2.7")
	return Rules{
		Forwarding: Families{IPv6: true},
		Networks: []Network{
			{
				ID: "a", Bridge: "docker0", IPv4: family("172.17.0.0/16", "172.17.0.1", ModeNAT),
				Ports: []Port{
					port("tcp", "0.0.0.0:8080", "172.17.0.2:80"),
					port("tcp", "[::]:8080", "172.17.0.2:80"), // By the other family: not the filter's.
					port("udp", "192.0.2.1:5353", "172.17.0.3:53"),
					port("sctp", "0.0.0.0:9", "172.17.0.3:9"),
					port("tcp", "127.0.0.1:8081", "172.17.0.2:81"),
				},
			},
			{
				ID: "b", Bridge: "br-b", IPv4: source, IPv6: family("fd00:b::/64", "fd00:b::1", ""),
				Ports: []Port{
					port("tcp", "0.0.0.0:8443", "172.21.0.2:443"), port("tcp", "[::]:8443", "[fd00:b::2]:443"),
					port("tcp", "[2001:db8::1]:8444", "[fd00:b::2]:443"), port("tcp", "[::1]:8445", "[fd00:b::2]:445"),
				},
			},
			{ID: "c", Bridge: "br-internal", IPv4: family("172.22.0.0/16", "172.22.0.1", ""), Internal: true, Ports: []Port{port("tcp", "0.0.0.0:8084", "172.22.0.2:80")}},
			{ID: "d", Bridge: "br-isolated", IPv4: family("172.23.0.0/16", "172.23.0.1", ""), Isolated: true},
			{
				ID: "e", Bridge: "br-routed", IPv4: family("172.24.0.0/16", "172.24.0.1", ModeRouted), IPv6: family("fd00:e::/64", "fd00:e::1", ModeRouted),
				Ports: []Port{port("tcp", "0.0.0.0:0", "172.24.0.2:80"), port("tcp", "[::]:0", "[fd00:e::2]:80")},
			},
			{ID: "f", Bridge: "br-unprotected", IPv4: family("172.25.0.0/16", "172.25.0.1", ModeUnprotected)},
			{ID: "g", Bridge: "br-alone", IPv4: family("172.26.0.0/16", "172.26.0.1", ModeIsolated), Internal: true},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got; go test -update writes it anew):\n%s", path, diff)
	}
}

// list is what nft says that our tables are, elements in order: the kernel tells them in any.
func list(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs the program nft")
	}
	host := newMachine(t, "host")
	var all strings.Builder
	for _, family := range []string{"ip", "ip6"} {
		if !strings.Contains(host.run(t, "nft list tables"), "table "+family+" "+tableName+"\n") {
			continue
		}
		var elements []string
		for line := range strings.Lines(host.run(t, "nft list table "+family+" "+tableName)) {
			body, begins := strings.CutPrefix(strings.TrimSpace(line), "elements = { ")
			if !begins && elements == nil {
				all.WriteString(line)
				continue
			}
			body, ends := strings.CutSuffix(body, " }")
			for e := range strings.SplitSeq(body, ", ") {
				elements = append(elements, strings.TrimSuffix(e, ","))
			}
			if ends {
				slices.Sort(elements)
				all.WriteString("\t\telements = { " + strings.Join(elements, ",\n\t\t\t     ") + " }\n")
				elements = nil
			}
		}
	}
	return all.String()
}

func TestNftablesGolden(t *testing.T) {
	needRoot(t)
	b, err := Open("nftables")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), every()); err != nil {
		t.Fatal(err)
	}
	golden(t, "nftables.golden", list(t))
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := list(t); got != "" {
		t.Errorf("after Remove: got %s, want nothing", got)
	}
}

// TestRefill has what a stranger put into our table, or took from it, made good without a moment in which a chain with a
// hook is not there.
func TestRefill(t *testing.T) {
	needRoot(t)
	host := newMachine(t, "host")
	b, err := Open("nftables")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), every()); err != nil {
		t.Fatal(err)
	}
	want := list(t)
	n := b.(*nft)
	content, err := wanted(every())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stranger string
		stays    bool // each chain with a hook
	}{
		{"nft flush table ip " + tableName, true},
		{"nft add rule ip " + tableName + " forward ip saddr {192.0.2.1,192.0.2.2} accept", true},
		{"nft add chain ip " + tableName + " mine", true},
		{"nft add chain ip " + tableName + " mine2 {type filter hook forward priority 7;}", true},
		{"nft flush set ip " + tableName + " " + setWithin, true},
		{"nft add table ip gantry-of-old", false},
		{"nft delete table ip6 " + tableName, false},
		{"nft flush ruleset", false},
	} {
		host.run(t, c.stranger)
		before, err := n.current()
		if err != nil {
			t.Fatal(err)
		}
		err = n.refill(content)
		if err == nil {
			err = n.commit(before, content, known{})
		}
		if c.stays != (err == nil) {
			t.Errorf("refill after %s: %v", c.stranger, err)
		}
		if err := b.Apply(t.Context(), every()); err != nil {
			t.Fatalf("after %s: %v", c.stranger, err)
		}
		if diff := cmp.Diff(want, list(t)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", c.stranger, diff)
		}
	}
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestIptablesGolden(t *testing.T) {
	for name, ip6 := range map[string]bool{"iptables.golden": false, "ip6tables.golden": true} {
		v, err := every().of(ip6)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, restoreText(saved{}, v))
	}
}

// TestIptablesKeepsOthers also has DOCKER-USER stay as the user filled it, before ours.
func TestIptablesKeepsOthers(t *testing.T) {
	needRoot(t)
	host := newMachine(t, "host")
	needIptables(t)
	b, err := Open("iptables")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"-N DOCKER-USER", "-A DOCKER-USER -s 192.0.2.66 -j DROP", "-A FORWARD -i other0 -j ACCEPT", "-N GANTRY-OLD", "-A FORWARD -j GANTRY-OLD"} {
		host.run(t, "iptables "+line)
	}
	t.Cleanup(func() {
		for _, line := range []string{"-D FORWARD -j DOCKER-USER", "-F DOCKER-USER", "-X DOCKER-USER", "-D FORWARD -i other0 -j ACCEPT"} {
			host.run(t, "iptables "+line)
		}
	})
	for range 2 {
		if err := b.Apply(t.Context(), every()); err != nil {
			t.Fatal(err)
		}
	}
	got := host.run(t, "iptables -S FORWARD") + host.run(t, "iptables -S DOCKER-USER")
	want := "-P FORWARD ACCEPT\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j GANTRY-FORWARD\n-A FORWARD -i other0 -j ACCEPT\n" +
		"-N DOCKER-USER\n-A DOCKER-USER -s 192.0.2.66/32 -j DROP\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules of others (-want +got):\n%s", diff)
	}
	if got := host.run(t, "ip6tables -S FORWARD"); !strings.HasSuffix(got, "-A FORWARD -j GANTRY-FOREIGN\n") {
		t.Errorf("forwarding for nobody else: got %s, want GANTRY-FOREIGN at the end", got)
	}
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		if got := host.run(t, program); strings.Contains(got, chainPrefix) {
			t.Errorf("%s after Remove: got %s, want no chain of ours", program, got)
		}
	}
}

// share has a network publish the ports of all others, too.
func (r Rules) share(id string, at netip.AddrPort) {
	n := &r.Networks[slices.IndexFunc(r.Networks, func(n Network) bool { return n.ID == id })]
	for _, other := range r.Networks {
		for _, p := range other.Ports {
			if p.Container.Addr().Unmap().Is4() {
				p.Container = at
				n.Ports = append(n.Ports, p)
			}
		}
	}
}

// TestDifferences goes from any rules to any others, and must come to the tables that a fresh start writes.
func TestDifferences(t *testing.T) {
	needRoot(t)
	b, err := Open("nftables")
	if err != nil {
		t.Fatal(err)
	}
	n, ok := b.(*nft)
	if !ok {
		t.Fatal("not the nftables back end")
	}
	t.Cleanup(func() {
		if err := b.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		r := every()
		// Without networks that have the only rules of a family the tables themselves would change.
		r.Networks = append(r.Networks, Network{ID: "z", Bridge: "br-z", IPv4: &Family{Subnet: netip.MustParsePrefix("10.0.0.0/8")}})
		random.Shuffle(len(r.Networks), func(i, j int) { r.Networks[i], r.Networks[j] = r.Networks[j], r.Networks[i] })
		r.Networks = slices.DeleteFunc(r.Networks, func(n Network) bool { return n.ID != "z" && random.IntN(3) == 0 })
		for i := range r.Networks {
			ports := slices.Clone(r.Networks[i].Ports)
			random.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
			r.Networks[i].Ports = ports[:random.IntN(len(ports)+1)]
		}
		if round%4 > 1 {
			r.share("z", netip.MustParseAddrPort("10.0.0.9:80"))
		}
		before := n.generation
		if err := b.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		edited := list(t)
		if round > 0 && n.generation > before+1 {
			t.Errorf("round %d: %d transactions, want one at most", round, n.generation-before)
		}
		n.generation = 0
		if err := b.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list(t), edited); diff != "" {
			t.Fatalf("round %d: difference from a fresh start (-fresh +edited):\n%s", round, diff)
		}
		same := n.generation
		if err := b.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if n.generation != same {
			t.Errorf("round %d: the same rules again have written something", round)
		}
	}
}

// TestLeftovers has each back end take away what the other, or an earlier build, has left.
func TestLeftovers(t *testing.T) {
	needRoot(t)
	host := newMachine(t, "host")
	filter, err := Open("nftables")
	if err != nil {
		t.Fatal(err)
	}
	needIptables(t)
	tables, err := Open("iptables")
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Apply(t.Context(), every()); err != nil {
		t.Fatal(err)
	}
	host.run(t, "nft add table ip gantry-of-old")
	if err := filter.Apply(t.Context(), every()); err != nil {
		t.Fatal(err)
	}
	if got := host.run(t, "iptables-save"); strings.Contains(got, chainPrefix) {
		t.Errorf("iptables after nftables: got %s, want no chain of ours", got)
	}
	if got := host.run(t, "nft list tables"); strings.Contains(got, "gantry-of-old") {
		t.Errorf("tables: got %s, want no leftovers", got)
	}
	if tables, err = Open("iptables"); err != nil {
		t.Fatal(err)
	}
	if err := tables.Apply(t.Context(), every()); err != nil {
		t.Fatal(err)
	}
	if got := host.run(t, "nft list tables"); strings.Contains(got, tableName) {
		t.Errorf("nftables after iptables: got %s, want no table of ours", got)
	}
	if err := tables.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestBadRules(t *testing.T) {
	subnet := &Family{Subnet: netip.MustParsePrefix("10.0.0.0/8")}
	for name, n := range map[string]Network{
		"no bridge":                     {ID: "n", IPv4: subnet},
		"a name too long":               {ID: "n", Bridge: "br-0123456789abcd", IPv4: subnet},
		"a subnet of the other family":  {ID: "n", Bridge: "br", IPv6: subnet},
		"a network without any subnet":  {ID: "n", Bridge: "br", IPv4: &Family{}},
		"a port of an unknown protocol": {ID: "n", Bridge: "br", IPv4: subnet, Ports: []Port{{Protocol: "dccp", Host: netip.MustParseAddrPort("0.0.0.0:1"), Container: netip.MustParseAddrPort("10.0.0.2:1")}}},
	} {
		if _, err := wanted(Rules{Networks: []Network{n}}); err == nil || !strings.Contains(err.Error(), "network n: ") {
			t.Errorf("%s: got %v, want an error that names the network", name, err)
		}
	}
	if _, err := Open("ipchains"); err == nil {
		t.Error("Open(ipchains): got nil, want an error")
	}
}

func many(networks, ports int) Rules {
	var r Rules
	for i := range networks {
		a := func(host byte) netip.Addr {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i)<<8|uint32(host)) //nolint:gosec // A few hundred.
			return netip.AddrFrom4(b)
		}
		n := Network{ID: a(0).String(), Bridge: "br-" + a(0).String(), IPv4: &Family{Subnet: netip.PrefixFrom(a(0), 24), Gateway: a(1), Masquerade: true}}
		for p := i; p < ports; p += networks {
			n.Ports = append(n.Ports, Port{
				Protocol: "tcp", Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(10000+p)), //nolint:gosec // A few hundred.
				Container: netip.AddrPortFrom(a(2), 80),
			})
		}
		r.Networks = append(r.Networks, n)
	}
	return r
}

// BenchmarkApply publishes one more port, or takes it back.
func BenchmarkApply(b *testing.B) {
	if os.Getenv(hostVariable) == "" {
		b.Skip("needs root, for network namespaces")
	}
	for _, backend := range []string{"nftables", "iptables"} {
		for _, size := range []struct {
			name            string
			networks, ports int
		}{{"first", 1, 1}, {"200 networks, 500 ports", 200, 500}} {
			b.Run(backend+"/"+size.name, func(b *testing.B) {
				filter, err := Open(backend)
				if err != nil {
					b.Skip(err)
				}
				r := many(size.networks, size.ports)
				if err := filter.Apply(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				ports := r.Networks[0].Ports
				more := append(slices.Clone(ports), Port{Protocol: "tcp", Host: netip.MustParseAddrPort("0.0.0.0:9999"), Container: netip.MustParseAddrPort("10.0.0.9:80")})
				for i := 0; b.Loop(); i++ {
					r.Networks[0].Ports = [][]Port{more, ports}[i%2]
					if err := filter.Apply(b.Context(), r); err != nil {
						b.Fatal(err)
					}
				}
				if err := filter.Remove(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
