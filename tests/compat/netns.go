package compat

import (
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

var networks atomic.Int64

// Network makes a network namespace that has a loopback device only, and returns its name: a
// daemon that writes firewall rules must not write the machine's. Enter it by `nsenter
// --net=/run/netns/NAME`; `ip netns exec` would mount another /sys, without the cgroups.
func Network(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("gt-compat-%d-%d", os.Getpid(), networks.Add(1))
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "delete", name) })
	ip(t, "-netns", name, "link", "set", "lo", "up")
	// dockerd turns it on for the bridge network that it makes; one that makes none warns when it is off.
	ip(t, "netns", "exec", name, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	return name
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}
