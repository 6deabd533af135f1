package buildkit

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/engine/cni"
	"github.com/gantry-containers/gantry/engine/config"
)

func TestFile(t *testing.T) {
	s := Settings{
		Address: "/run/m.sock", Namespace: "moby", Snapshotter: "overlayfs", AppArmor: "docker-default", CgroupParent: "/parent", Certs: "testdata/certs.d", Debug: true,
		Builder: config.Builder{
			NetworkHost: true, History: &config.BuilderHistory{Age: time.Hour, Entries: 3},
			GC: config.BuilderGC{Space: config.Space{Reserved: 1, MaxUsed: 2, MinFree: 3}, Rules: []config.BuilderRule{
				{All: true, Keep: time.Minute, Filters: []string{"type==x"}, Space: config.Space{Reserved: 4}},
			}},
		},
		Registry: config.Registry{Mirrors: []string{"http://mirror.example:5000/sub"}, Insecure: []string{"registry.example", "10.0.0.0/8"}},
		Network:  config.Network{DNS: []netip.Addr{netip.MustParseAddr("1.2.3.4")}, HostGatewayIPs: []netip.Addr{netip.MustParseAddr("::2"), netip.MustParseAddr("1.2.3.5")}},
	}
	s.Bridge = cni.Installed{Config: "/cni/conf", Programs: "/cni/bin"}
	got, err := s.file("/root", "/state")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/buildkitd.toml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

// Without a bridge, steps have the host's network.
func TestNoBridge(t *testing.T) {
	got, err := Settings{}.file("/root", "/state")
	if err != nil || !strings.Contains(string(got), "networkMode = 'host'\n") || strings.Contains(string(got), "cni") {
		t.Errorf("%s, %v", got, err)
	}
}

func TestEnvironment(t *testing.T) {
	s := Settings{Proxies: config.Proxies{HTTP: "p"}}
	got := s.environment([]string{"A=b", "http_proxy=old", "no_proxy=n", "TMPDIR=/t"}, "/r")
	if d := cmp.Diff([]string{"A=b", "HTTP_PROXY=p", "TMPDIR=/r/tmp", "no_proxy=n"}, got); d != "" {
		t.Error(d)
	}
}
