package firewall

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// vandals are ways in which others lose our rules.
var vandals = map[string][]struct{ name, line string }{
	"nftables": {
		{"ruleset flushed", "nft flush ruleset"},
		{"table deleted", "nft delete table ip " + tableName},
		{"chain flushed", "nft flush chain ip6 " + tableName + " forward"},
		{"one rule deleted", "RULE"},
		{"element deleted", `nft delete element ip gantry-bridges internal { "br-internal" }`},
		{"rule inserted", "nft insert rule ip gantry-bridges forward accept"},
	},
	"iptables": {
		{"chain flushed", "iptables -F GANTRY-FORWARD"},
		{"jump deleted", "ip6tables -D FORWARD -j GANTRY-FORWARD"},
		{"one rule deleted", "iptables -t nat -D GANTRY-HIDE 1"},
		{"table flushed", "iptables -F"},
	},
}

// ruleToDelete is the command that deletes the rule with which the forward chain ends.
func ruleToDelete(t *testing.T, host *machine) string {
	t.Helper()
	last := ""
	for line := range strings.Lines(host.run(t, "nft -a list chain ip "+tableName+" forward")) {
		if strings.Contains(line, "@bridges accept # handle ") {
			last = line[strings.LastIndex(line, " ")+1:]
		}
	}
	return "nft delete rule ip " + tableName + " forward handle " + strings.TrimSpace(last)
}

func TestWatch(t *testing.T) {
	backends(t, func(t *testing.T, b Backend) {
		if _, err := exec.LookPath("nft"); err != nil {
			t.Skip("needs the program nft")
		}
		name := "iptables"
		if _, ok := b.(*nft); ok {
			name = "nftables"
		}
		host := newMachine(t, "host")
		if err := b.Apply(t.Context(), every()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int32
		ended := make(chan error, 1)
		go func() {
			ended <- b.Watch(ctx, func() {
				calls.Add(1)
				if err := b.Apply(ctx, every()); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			})
		}()
		save := func() string { return list(t) }
		if name == "iptables" {
			save = func() string {
				return host.run(t, "iptables -S") + host.run(t, "iptables -t nat -S") + host.run(t, "ip6tables -S")
			}
		}
		want := save()
		waitForWatch(ctx, t, b)
		for _, v := range vandals[name] {
			line := v.line
			if line == "RULE" {
				line = ruleToDelete(t, host)
			}
			before := calls.Load()
			host.run(t, line)
			if got := repaired(save, want, func() bool { return calls.Load() > before }); got != want {
				t.Errorf("%s: not repaired after %d calls: %s", v.name, calls.Load()-before, cmp.Diff(want, got))
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want context.Canceled", err)
		}
	})
}

// repaired is what stands when all is as wanted again and somebody was told, or when patience ends.
func repaired(save func() string, want string, told func() bool) string {
	got := ""
	for limit := time.Now().Add(patience); (got != want || !told()) && time.Now().Before(limit); time.Sleep(time.Millisecond) {
		got = save()
	}
	if !told() {
		return "nobody was told"
	}
	return got
}

// waitForWatch is over when the kernel knows the socket that listens.
func waitForWatch(ctx context.Context, t *testing.T, b Backend) {
	t.Helper()
	if _, ok := b.(*nft); !ok {
		return
	}
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			break
		}
		// Protocol 12 is netfilter's; the groups are a mask, in which that of nftables is bit 6.
		for line := range strings.Lines(newMachine(t, "host").run(t, "cat /proc/net/netlink")) {
			f := strings.Fields(line)
			if len(f) > 3 && f[1] == "12" && f[3] == "00000040" {
				return
			}
		}
	}
	t.Fatal("Watch does not listen")
}

// TestOwnChangesAreNoNews reads the very notes that Watch reads.
func TestOwnChangesAreNoNews(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs the program nft")
	}
	b, err := openNftables()
	if err != nil {
		t.Fatal(err)
	}
	n, ok := b.(*nft)
	if !ok {
		t.Fatal("not the nftables back end")
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		t.Fatal(err)
	}
	news := func() bool {
		t.Helper()
		told := false
		for {
			messages, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				told = told || n.isNews(m)
				if m.Header.Type == endOfTransaction {
					return told
				}
			}
		}
	}
	host := newMachine(t, "host")
	rules := every()
	if err := n.Apply(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	if news() {
		t.Error("first Apply: is news, want not")
	}
	rules.Networks = rules.Networks[1:]
	if err := n.Apply(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	if news() {
		t.Error("Apply of a difference: is news, want not")
	}
	host.run(t, "nft add table ip somebody-elses")
	if news() {
		t.Error("a table of others: is news, want not")
	}
	host.run(t, "nft flush ruleset")
	if !news() {
		t.Error("flush: is no news, want it to be")
	}
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}
