package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	chainPrefix = "GANTRY-"
	// chainUser is moby's chain for rules of the user, which come before ours.
	chainUser = "DOCKER-USER"
	jumpUser  = "-A FORWARD -j " + chainUser
)

// tableNames are in the order in which they are written: a port is let through before anything is sent to it, and what is
// dropped at the door comes first of all.
var tableNames = []string{"mangle", "filter", "nat"}

// lines of iptables-restore for one table.
type lines struct {
	// chains are ours, in the order in which they are made.
	chains []string
	// first and last are the rules of the kernel's chains that lead to ours: before and after those of others.
	first, last []string
	rules       []string
}

func (l *lines) add(format string, args ...any) {
	l.rules = append(l.rules, fmt.Sprintf("-A "+format, args...))
}

func tableLines(v view) map[string]*lines {
	return map[string]*lines{"mangle": checkLines(v), "filter": filterLines(v), "nat": natLines(v)}
}

// restoreText makes the tables say what the view says.
func restoreText(before saved, v view) string {
	want := tableLines(v)
	var b strings.Builder
	for _, name := range tableNames {
		l, t := want[name], before[name]
		if t == nil {
			t = &savedTable{}
		}
		fmt.Fprintf(&b, "*%s\n", name)
		for _, c := range l.chains {
			// This empties a chain that is there already.
			if c != chainUser || !slices.Contains(t.chains, c) {
				fmt.Fprintf(&b, ":%s - [0:0]\n", c)
			}
		}
		writeJumps(&b, t, l)
		for _, r := range l.rules {
			b.WriteString(r + "\n")
		}
		for _, c := range t.chains {
			if strings.HasPrefix(c, chainPrefix) && !slices.Contains(l.chains, c) {
				fmt.Fprintf(&b, "-F %[1]s\n-X %[1]s\n", c)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// writeJumps leaves the rules that lead to our chains where they are, unless one is missing or too many.
func writeJumps(b *strings.Builder, t *savedTable, l *lines) {
	var have []string
	for _, r := range t.rules {
		if leadsTo(r) != "" {
			have = append(have, r)
		}
	}
	if sameLines(have, slices.Concat(l.first, l.last)) {
		return
	}
	for _, r := range have {
		b.WriteString("-D" + strings.TrimPrefix(r, "-A") + "\n")
	}
	for _, r := range slices.Backward(l.first) {
		b.WriteString("-I" + strings.TrimPrefix(r, "-A") + "\n")
	}
	for _, r := range l.last {
		b.WriteString(r + "\n")
	}
}

// sameLines does not care in which order different chains of the kernel are listed.
func sameLines(a, b []string) bool {
	chain := func(x, y string) int { return strings.Compare(strings.Fields(x)[1], strings.Fields(y)[1]) }
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortStableFunc(a, chain)
	slices.SortStableFunc(b, chain)
	return slices.Equal(a, b)
}

// removeText takes away our chains; empty when there are none.
func removeText(before saved) string {
	var b strings.Builder
	for _, name := range tableNames {
		t := before[name]
		if t == nil || !slices.ContainsFunc(t.chains, func(c string) bool { return strings.HasPrefix(c, chainPrefix) }) {
			continue
		}
		user := t.usesUser()
		fmt.Fprintf(&b, "*%s\n", name)
		for _, r := range t.rules {
			if to := leadsTo(r); to != "" && (to != chainUser || !user) {
				b.WriteString("-D" + strings.TrimPrefix(r, "-A") + "\n")
			}
		}
		for _, verb := range []string{"-F", "-X"} {
			for _, c := range t.chains {
				if strings.HasPrefix(c, chainPrefix) || (c == chainUser && !user) {
					fmt.Fprintf(&b, "%s %s\n", verb, c)
				}
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// usesUser says that somebody has filled DOCKER-USER, or leads to it.
func (t *savedTable) usesUser() bool {
	return slices.ContainsFunc(t.rules, func(r string) bool {
		return slices.Contains(strings.Fields(r), chainUser) && r != jumpUser
	})
}

func checkLines(v view) *lines {
	l := &lines{chains: []string{"GANTRY-CHECK"}, first: []string{"-A PREROUTING -j GANTRY-CHECK"}}
	for _, n := range v.networks {
		for _, p := range n.Ports {
			if h := p.Host.Addr().Unmap(); !n.closed() && p.Host.Port() != 0 && h.Is4() && h.IsLoopback() && !v.ip6 {
				l.add("GANTRY-CHECK ! -i lo -d %s/32 -p %s -m %[2]s --dport %d -j DROP", h, p.Protocol, p.Host.Port())
			}
		}
		if n.Mode == ModeIsolated {
			continue
		}
		if v.ip6 {
			l.add("GANTRY-CHECK -i %s -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j DROP", n.Bridge)
		}
		l.add("GANTRY-CHECK -i %s -m conntrack --ctstate NEW -m rpfilter --invert -j DROP", n.Bridge)
	}
	return l
}

func filterLines(v view) *lines {
	l := &lines{
		chains: []string{chainUser, "GANTRY-PUBLISHED", "GANTRY-PROTECTED", "GANTRY-ROUTED", "GANTRY-FORWARD"},
		first:  []string{jumpUser, "-A FORWARD -j GANTRY-FORWARD"},
	}
	icmp := "icmp"
	if v.ip6 {
		icmp = "ipv6-icmp"
	}
	l.add("GANTRY-PROTECTED -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT")
	l.add("GANTRY-PROTECTED -m conntrack --ctstate RELATED -j ACCEPT")
	l.add("GANTRY-PROTECTED -m conntrack --ctstate DNAT -j GANTRY-PUBLISHED")
	l.add("GANTRY-PROTECTED -j DROP")
	l.add("GANTRY-ROUTED -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	l.add("GANTRY-ROUTED -p %s -j ACCEPT", icmp)
	l.add("GANTRY-ROUTED -j GANTRY-PUBLISHED")
	l.add("GANTRY-ROUTED -j DROP")
	for _, n := range v.networks {
		verdict := "ACCEPT"
		if n.Isolated {
			verdict = "DROP"
		}
		l.add("GANTRY-FORWARD -i %[1]s -o %[1]s -j %s", n.Bridge, verdict)
	}
	for _, n := range v.networks {
		if n.closed() {
			l.add("GANTRY-FORWARD -i %s -j DROP", n.Bridge)
		}
	}
	for _, n := range v.networks {
		l.add("GANTRY-FORWARD -o %s -j %s", n.Bridge, enteringTarget(n))
		if n.closed() {
			continue
		}
		for _, p := range n.Ports {
			rule := fmt.Sprintf("-A GANTRY-PUBLISHED -d %s -p %s -m %[2]s --dport %d -j ACCEPT", host(p.Container.Addr()), p.Protocol, p.Container.Port())
			if !slices.Contains(l.rules, rule) {
				l.rules = append(l.rules, rule)
			}
		}
	}
	for _, n := range v.networks {
		if !n.closed() {
			l.add("GANTRY-FORWARD -i %s -j ACCEPT", n.Bridge)
		}
	}
	if v.ours {
		l.chains = append(l.chains, "GANTRY-FOREIGN")
		l.last = []string{"-A FORWARD -j GANTRY-FOREIGN"}
		l.add("GANTRY-FOREIGN -j DROP")
	}
	return l
}

func enteringTarget(n familyNetwork) string {
	switch {
	case n.closed():
		return "DROP"
	case n.Mode == ModeUnprotected:
		return "ACCEPT"
	case n.Mode == ModeRouted:
		return "GANTRY-ROUTED"
	}
	return "GANTRY-PROTECTED"
}

func natLines(v view) *lines {
	f := family{ip6: v.ip6}
	l := &lines{
		chains: []string{"GANTRY-PUBLISH", "GANTRY-HIDE"},
		first: []string{
			"-A PREROUTING -m addrtype --dst-type LOCAL -j GANTRY-PUBLISH",
			fmt.Sprintf("-A OUTPUT ! -d %s -m addrtype --dst-type LOCAL -j GANTRY-PUBLISH", f.loopback()),
			"-A POSTROUTING -j GANTRY-HIDE",
		},
	}
	if v.ip6 {
		l.add("GANTRY-PUBLISH -s fe80::/10 -j RETURN")
	}
	for _, any := range []bool{false, true} {
		for _, n := range v.networks {
			for _, p := range n.translated() {
				if p.Host.Addr().IsUnspecified() == any {
					l.add("GANTRY-PUBLISH %s", publishRule(n, p))
				}
			}
		}
	}
	for _, n := range v.networks {
		if n.closed() || n.Mode == ModeRouted || !n.Masquerade {
			continue
		}
		hide := "MASQUERADE"
		if n.Source.IsValid() {
			hide = "SNAT --to-source " + n.Source.String()
		}
		l.add("GANTRY-HIDE -s %s ! -o %s -j %s", n.Subnet.Masked(), n.Bridge, hide)
	}
	return l
}

func publishRule(n familyNetwork, p Port) string {
	to := netip.AddrPortFrom(p.Container.Addr().Unmap(), p.Container.Port())
	at := ""
	if !p.Host.Addr().IsUnspecified() {
		at = "-d " + host(p.Host.Addr()) + " "
	}
	return fmt.Sprintf("! -i %s %s-p %s -m %[3]s --dport %d -j DNAT --to-destination %s", n.Bridge, at, p.Protocol, p.Host.Port(), to)
}

// host is an address as iptables-save writes it.
func host(a netip.Addr) string {
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()).String()
}
