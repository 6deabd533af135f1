package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// poll is how often iptables is asked whether our rules still stand: it has nothing to wait on.
const poll = 2 * time.Second

// tool is iptables or ip6tables, by their -save and -restore.
type tool struct {
	ip6           bool
	save, restore string
}

// iptables writes chains of its own with iptables-restore, one call per family.
type iptables struct {
	tools []tool

	mu sync.Mutex
	// last is what iptables-save told after the last Apply, of each tool; nil before the first.
	last  []string
	flows flows
}

func openIptables() (Backend, error) {
	t, err := newIptables()
	if err != nil {
		return nil, fmt.Errorf("firewall-backend iptables: %w", err)
	}
	return t, nil
}

func newIptables() (*iptables, error) {
	t := &iptables{tools: []tool{{save: "iptables-save", restore: "iptables-restore"}, {ip6: true, save: "ip6tables-save", restore: "ip6tables-restore"}}}
	for i := range t.tools {
		for _, name := range []*string{&t.tools[i].save, &t.tools[i].restore} {
			path, err := exec.LookPath(*name)
			if err != nil {
				return nil, err
			}
			*name = path
		}
	}
	return t, nil
}

// Apply replaces our chains.
func (t *iptables) Apply(ctx context.Context, r Rules) error {
	if err := filterBridged(r); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		if err := removeNftables(ctx); err != nil {
			return err
		}
	}
	last := make([]string, len(t.tools))
	for i, tool := range t.tools {
		v, err := r.of(tool.ip6)
		if err != nil {
			return err
		}
		if t.last != nil && t.last[i] == "" && !v.used() {
			continue // Nothing was there, and nothing shall be.
		}
		if last[i], err = tool.apply(ctx, v); err != nil {
			return err
		}
	}
	t.last = last
	return t.flows.follow(r)
}

// apply gives our lines as they stand then.
func (t tool) apply(ctx context.Context, v view) (string, error) {
	before, err := t.read(ctx)
	if err != nil {
		return "", err
	}
	if v.used() {
		err = t.write(ctx, restoreText(before, v))
	} else {
		err = t.write(ctx, removeText(before))
	}
	if err != nil {
		return "", err
	}
	after, err := t.read(ctx)
	if err != nil {
		return "", err
	}
	if v.used() && !complete(after, v) {
		// Somebody was quicker: what stands there is not to be kept, and Watch will say so.
		return "incomplete", nil
	}
	return ourLines(after), nil
}

// complete says whether all lines stand that were written, by their number: iptables-save may word them differently.
func complete(s saved, v view) bool {
	for name, l := range tableLines(v) {
		if s[name] == nil {
			return false
		}
		n := 0
		for _, r := range s[name].rules {
			if strings.HasPrefix(r, "-A "+chainPrefix) || leadsTo(r) != "" {
				n++
			}
		}
		if n != len(l.first)+len(l.last)+len(l.rules) {
			return false
		}
	}
	return true
}

// Watch asks again and again.
func (t *iptables) Watch(ctx context.Context, lost func()) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		changed, err := t.changed(ctx)
		if err != nil {
			return err
		}
		if changed {
			lost()
		}
	}
}

func (t *iptables) changed(ctx context.Context) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, last := range t.last {
		now, err := t.tools[i].read(ctx)
		if err != nil {
			return false, err
		}
		if ourLines(now) != last {
			return true, nil
		}
	}
	return false, nil
}

// Remove deletes our chains. DOCKER-USER stays if it has rules: they are the user's.
func (t *iptables) Remove(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = nil
	for _, tool := range t.tools {
		before, err := tool.read(ctx)
		if err != nil {
			return err
		}
		if err := tool.write(ctx, removeText(before)); err != nil {
			return err
		}
	}
	return nil
}

func (t tool) read(ctx context.Context) (saved, error) {
	out, err := run(ctx, "", t.save)
	return parseSaved(out), err
}

func (t tool) write(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	_, err := run(ctx, text, t.restore, "--noflush", "--wait", "10")
	return err
}

func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	//nolint:forbidigo // iptables has no other interface than its programs.
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// removeNftables takes away what the other back end left behind.
func removeNftables(ctx context.Context) error {
	b, err := openNftables()
	if err != nil {
		return nil // A kernel without nf_tables has none of our tables.
	}
	n, ok := b.(*nft)
	if !ok {
		return errors.New("the nftables back end is not ours")
	}
	defer n.disconnect()
	return n.Remove(ctx)
}

// saved is the output of iptables-save, by table.
type saved map[string]*savedTable

type savedTable struct {
	// chains are the names of those that the kernel does not have by itself.
	chains []string
	// rules are lines that begin with -A.
	rules []string
}

func parseSaved(text string) saved {
	s := saved{}
	current := &savedTable{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "*"):
			current = &savedTable{}
			s[line[1:]] = current
		case strings.HasPrefix(line, ":"):
			if f := strings.Fields(line[1:]); len(f) > 1 && f[1] == "-" {
				current.chains = append(current.chains, f[0])
			}
		case strings.HasPrefix(line, "-A "):
			current.rules = append(current.rules, line)
		}
	}
	return s
}

// ourLines are the rules of our chains and those that lead to them.
func ourLines(s saved) string {
	var b strings.Builder
	for _, name := range tableNames {
		t := s[name]
		if t == nil {
			continue
		}
		for _, c := range t.chains {
			if strings.HasPrefix(c, chainPrefix) || c == chainUser {
				b.WriteString(name + " " + c + "\n")
			}
		}
		for _, r := range t.rules {
			if strings.HasPrefix(r, "-A "+chainPrefix) || leadsTo(r) != "" {
				b.WriteString(name + " " + r + "\n")
			}
		}
	}
	return b.String()
}

// leadsTo is the chain of ours, or DOCKER-USER, to which a rule of somebody else's chain jumps.
func leadsTo(rule string) string {
	f := strings.Fields(rule)
	i := slices.Index(f, "-j")
	if i < 0 || i+1 == len(f) || len(f) < 2 || strings.HasPrefix(f[1], chainPrefix) {
		return ""
	}
	if to := f[i+1]; strings.HasPrefix(to, chainPrefix) || (to == chainUser && f[1] == "FORWARD") {
		return to
	}
	return ""
}
