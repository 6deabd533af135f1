package firewall

import (
	"os"
	"strings"
	"testing"
)

func TestForward(t *testing.T) {
	needRoot(t)
	const v4, v6 = "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"
	m := newMachine(t, "fresh")
	m.ip(t, "link add uplink type bridge")
	const advertisements = "/proc/sys/net/ipv6/conf/uplink/accept_ra"
	m.set(t, v4, "0")
	m.set(t, v6, "0")
	m.set(t, advertisements, "1")
	read := func(path string) (value string) {
		t.Helper()
		err := m.do(func() error {
			b, err := os.ReadFile(path)
			value = strings.TrimSpace(string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	dir := t.TempDir()
	for _, step := range []struct {
		name string
		dir  string
		ip6  bool
		want Families
	}{
		{"IPv4 alone", dir, false, Families{IPv4: true}},
		{"then IPv6", dir, true, Families{IPv4: true, IPv6: true}},
		{"a later start", dir, true, Families{IPv4: true, IPv6: true}},
		{"a host that forwards anyway", t.TempDir(), true, Families{}},
	} {
		var got Families
		err := m.do(func() (err error) {
			got, err = Forward(step.dir, step.ip6)
			return err
		})
		if err != nil || got != step.want {
			t.Errorf("%s: got %+v, %v, want %+v", step.name, got, err, step.want)
		}
		if got, want := read(v6), map[bool]string{true: "1", false: "0"}[step.ip6]; read(v4) != "1" || got != want {
			t.Errorf("%s: forwarding is %s and %s, want 1 and %s", step.name, read(v4), got, want)
		}
	}
	if got := read(advertisements); got != "2" {
		t.Errorf("accept_ra of a device that took advertisements: got %s, want 2", got)
	}
}
