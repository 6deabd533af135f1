package ipam_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/gantry-containers/gantry/engine/ipam"
)

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, prefix(s))
	}
	return out
}

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		pools        []ipam.Pool
		given, taken []netip.Prefix
		v6           bool
		bits         int
		want         string
		err          error
	}{
		"first":             {ipam.Defaults(), nil, nil, false, 0, "172.17.0.0/16", nil},
		"second":            {ipam.Defaults(), prefixes("172.17.0.0/16"), nil, false, 0, "172.18.0.0/16", nil},
		"inside a wide one": {ipam.Defaults(), prefixes("172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"), nil, false, 0, "172.21.0.0/16", nil},
		"after the 172s":    {ipam.Defaults(), prefixes("172.16.0.0/12"), nil, false, 0, "192.168.0.0/20", nil},
		"after moby's":      {ipam.Defaults(), prefixes("172.16.0.0/12", "192.168.0.0/16"), nil, false, 0, "10.0.0.0/24", nil},
		"a gap":             {ipam.Defaults(), prefixes("172.17.0.0/16", "172.19.0.0/16"), nil, false, 0, "172.18.0.0/16", nil},
		"host's route":      {ipam.Defaults(), nil, prefixes("172.17.5.0/24"), false, 0, "172.18.0.0/16", nil},
		"a small one first": {[]ipam.Pool{{Base: prefix("10.1.0.0/16"), Size: 24}}, prefixes("10.1.0.128/25"), nil, false, 0, "10.1.1.0/24", nil},
		"a size":            {ipam.Defaults(), nil, nil, false, 24, "172.17.0.0/24", nil},
		"too big a size":    {ipam.Defaults(), nil, nil, false, 4, "", ipam.ErrBadSize},
		"no IPv6":           {ipam.Defaults(), nil, nil, true, 0, "", ipam.ErrBadSize},
		"IPv6":              {[]ipam.Pool{{Base: prefix("fd00:1::/48"), Size: 64}}, prefixes("fd00:1::/64"), nil, true, 0, "fd00:1:0:1::/64", nil},
		"exhausted":         {[]ipam.Pool{{Base: prefix("10.1.0.0/23"), Size: 24}}, prefixes("10.1.0.0/24", "10.1.1.0/24"), nil, false, 0, "", ipam.ErrExhausted},
		"end of all":        {[]ipam.Pool{{Base: prefix("255.255.255.0/24"), Size: 24}}, prefixes("255.255.255.0/24"), nil, false, 0, "", ipam.ErrExhausted},
	}
	for name, test := range tests {
		s := ipam.New(test.pools)
		for _, p := range test.given {
			if err := s.Claim(p, netip.Prefix{}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		got, err := s.Choose(test.v6, test.bits, test.taken)
		if got != prefix(test.want) || !errors.Is(err, test.err) {
			t.Errorf("%s: %v, %v; want %s, %v", name, got, err, test.want, test.err)
		}
	}
}

// All that moby has are given before the ones of our own.
func TestChooseAll(t *testing.T) {
	s := ipam.New(ipam.Defaults())
	seen := map[netip.Prefix]bool{}
	for i := range 200 {
		p, err := s.Choose(false, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		for q := range seen {
			if q.Overlaps(p) {
				t.Fatalf("%s overlaps %s", p, q)
			}
		}
		seen[p] = true
		if (i < 31) == prefix("10.0.0.0/8").Overlaps(p) {
			t.Errorf("number %d is %s", i, p)
		}
	}
}

func TestClaim(t *testing.T) {
	s := ipam.New(nil)
	for _, step := range []struct {
		subnet, part string
		err          error
	}{
		{"10.0.0.0/16", "", nil},
		{"10.0.0.0/16", "", ipam.ErrOverlap},
		{"10.0.1.0/24", "", ipam.ErrOverlap},
		{"10.0.0.0/8", "", ipam.ErrOverlap},
		{"10.0.0.0/16", "10.0.4.0/24", nil},
		{"10.0.0.0/16", "10.0.4.0/24", ipam.ErrOverlap},
		{"10.1.0.0/16", "10.1.4.0/24", nil},
		{"10.1.0.0/16", "10.1.5.0/24", nil},
	} {
		if err := s.Claim(prefix(step.subnet), prefix(step.part)); !errors.Is(err, step.err) {
			t.Errorf("%s, %s: %v, want %v", step.subnet, step.part, err, step.err)
		}
	}
	s.Release(prefix("10.1.0.0/16"), prefix("10.1.4.0/24"))
	if err := s.Claim(prefix("10.1.0.0/16"), netip.Prefix{}); !errors.Is(err, ipam.ErrOverlap) {
		t.Errorf("the other range is gone, too: %v", err)
	}
	s.Release(prefix("10.1.0.0/16"), prefix("10.1.5.0/24"))
	if err := s.Claim(prefix("10.1.0.0/16"), netip.Prefix{}); err != nil {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	s := ipam.New(nil)
	p := prefix("10.0.0.0/29")
	if err := s.Claim(p, netip.Prefix{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(p, netip.MustParseAddr("10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]error{"10.0.0.0": ipam.ErrInUse, "10.0.0.7": ipam.ErrInUse, "10.0.0.2": ipam.ErrInUse, "10.0.1.1": ipam.ErrOutside} {
		if err := s.Take(p, netip.MustParseAddr(a)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", a, err, want)
		}
	}
	got := ""
	for range 4 {
		a, err := s.Any(p, netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprint(a, " ")
	}
	if want := "10.0.0.1 10.0.0.3 10.0.0.4 10.0.0.5 "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if used, free := s.Status(p, netip.Prefix{}); used != 7 || free != 1 {
		t.Errorf("%d used, %d free", used, free)
	}
	if _, err := s.Any(p, netip.Prefix{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Any(p, netip.Prefix{}); !errors.Is(err, ipam.ErrFull) {
		t.Error(err)
	}
	// What is given back is given again, the lowest first; what nobody may have stays.
	for _, a := range []string{"10.0.0.4", "10.0.0.3", "10.0.0.3", "10.0.0.0"} {
		s.Give(p, netip.MustParseAddr(a))
	}
	if a, err := s.Any(p, netip.Prefix{}); err != nil || a.String() != "10.0.0.3" {
		t.Error(a, err)
	}
}

func TestRange(t *testing.T) {
	s := ipam.New(nil)
	p, part := prefix("fd00::/64"), prefix("fd00::8/126")
	if err := s.Claim(p, part); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"fd00::8", "fd00::9", "fd00::a", "fd00::b"} {
		if a, err := s.Any(p, part); err != nil || a.String() != want {
			t.Errorf("%v, %v; want %s", a, err, want)
		}
	}
	if _, err := s.Any(p, part); !errors.Is(err, ipam.ErrFull) {
		t.Error(err)
	}
	if used, free := s.Status(p, part); used != 5 || free != 0 {
		t.Errorf("%d used, %d free", used, free)
	}
	if used, free := s.Status(p, netip.Prefix{}); used != 5 || free != math.MaxUint64-4 {
		t.Errorf("%d used, %d free of all", used, free)
	}
	if a, err := s.Any(p, netip.Prefix{}); err != nil || a.String() != "fd00::1" {
		t.Error(a, err)
	}
}

func TestTiny(t *testing.T) {
	s := ipam.New(nil)
	for subnet, want := range map[string]int{"10.0.0.0/32": 1, "10.1.0.0/31": 2, "10.2.0.0/30": 2} {
		if err := s.Claim(prefix(subnet), netip.Prefix{}); err != nil {
			t.Fatal(err)
		}
		got := 0
		for {
			if _, err := s.Any(prefix(subnet), netip.Prefix{}); err != nil {
				break
			}
			got++
		}
		if got != want {
			t.Errorf("%s has %d addresses, want %d", subnet, got, want)
		}
	}
}
