package engine_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// BenchmarkNetworks measures how long it takes to start a container with a published port, and to look up a name, while
// networks, containers and ports become more and more: 200 networks, 1,000 containers and 500 ports at the end, or
// $GANTRY_BENCH_NETWORKS networks and as many more of the others. The ratios are with the first tenth of them, which is
// measured once more when all others have gone: what differs then is the machine.
func BenchmarkNetworks(b *testing.B) {
	harness.NeedRoot(b)
	b.Setenv("TMPDIR", places[0].dir)
	out, n := os.Stdout, number("GANTRY_BENCH_NETWORKS", 200)
	c := &crowd{engine: start(b, peers[1].release, "gantry", docker.Setup{Engine: true})}
	defer c.leave()
	fmt.Fprintf(out, "\nmedians; ratio = with the first line\n%8s %10s %5s", "networks", "containers", "ports")
	for _, k := range []string{"start, none ms", "bridge ms", "with port ms", "look-up ms"} {
		fmt.Fprintf(out, "   %14s %5s", k, "ratio")
	}
	var first [4]time.Duration
	line := func(now [4]time.Duration) {
		fmt.Fprintf(out, "\n%8d %10d %5d", c.networks, len(c.ids), c.ports)
		for i, d := range now {
			fmt.Fprintf(out, "   %14.3f %5.2f", float64(d)/1e6, float64(d)/float64(first[i]))
		}
	}
	for step := range 10 {
		c.grow(n / 10)
		now := c.measure()
		if step == 0 {
			first = now
		}
		line(now)
	}
	c.shrink(n / 10)
	line(c.measure())
	fmt.Fprintln(out)
}

// measure has the medians of starts without a network, on a bridge, and with a port, and of look-ups.
func (c *crowd) measure() [4]time.Duration {
	c.t.Helper()
	return [4]time.Duration{
		median(20, c.passing(&api.HostConfig{NetworkMode: "none"})), median(20, c.passing(&api.HostConfig{NetworkMode: "n0"})),
		median(20, c.passing(&api.HostConfig{NetworkMode: "n0", PortBindings: at(19000)})), median(500, c.lookUp()),
	}
}

// crowd is many networks, each with five containers; every other container has a port.
type crowd struct {
	*engine
	networks, ports int
	ids             []string
}

func (c *crowd) grow(networks int) {
	c.t.Helper()
	for range networks {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(c.networks / 250), byte(c.networks % 250), 0}), 24)
		name := "n" + strconv.Itoa(c.networks)
		if _, err := c.api.NetworkCreate(context.Background(), name, client.NetworkCreateOptions{
			IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet}}},
		}); err != nil {
			c.t.Fatal(err)
		}
		c.networks++
		for range 5 {
			h := &api.HostConfig{NetworkMode: api.NetworkMode(name)}
			if len(c.ids)%2 == 0 {
				h.PortBindings = at(20000 + c.ports)
				c.ports++
			}
			id, _ := c.container(h)
			c.ids = append(c.ids, id)
		}
	}
	c.lasted = len(c.processes())
}

// shrink leaves the first networks and their containers.
func (c *crowd) shrink(networks int) {
	c.t.Helper()
	for _, id := range c.ids[5*networks:] {
		c.end(id)
	}
	c.ids = c.ids[:5*networks]
	for ; c.networks > networks; c.networks-- {
		if _, err := c.api.NetworkRemove(context.Background(), "n"+strconv.Itoa(c.networks-1), client.NetworkRemoveOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
	c.ports = (len(c.ids) + 1) / 2
	c.lasted = len(c.processes())
}

// at publishes port 80 at one of the host's.
func at(port int) network.PortMap {
	return network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: strconv.Itoa(port)}}}
}

// container starts one, and tells how long that took.
func (c *crowd) container(h *api.HostConfig) (id string, took time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(time.Minute))
	defer cancel()
	made, err := c.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: fmt.Sprintf("c%d-%d", len(c.ids), time.Now().UnixNano()), Config: &api.Config{Image: image, Cmd: []string{"sleep", "100000"}}, HostConfig: h,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		c.t.Fatal(err)
	}
	return made.ID, time.Since(began)
}

// passing makes a function that starts a container and removes it.
func (c *crowd) passing(h *api.HostConfig) func() time.Duration {
	return func() time.Duration {
		c.t.Helper()
		id, took := c.container(h)
		c.end(id)
		return took
	}
}

func (c *crowd) end(id string) {
	c.t.Helper()
	if _, err := c.api.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true}); err != nil {
		c.t.Fatal(err)
	}
}

// lookUp makes a function that looks up a neighbour's name from within the first container.
func (c *crowd) lookUp() func() time.Duration {
	c.t.Helper()
	inspect := func(id string) api.InspectResponse {
		r, err := c.api.ContainerInspect(context.Background(), id, client.ContainerInspectOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		return r.Container
	}
	conn := &dns.Conn{Conn: c.inside(inspect(c.ids[0]).State.Pid)}
	c.t.Cleanup(func() { _ = conn.Close() })
	name := inspect(c.ids[1]).Name[1:]
	return func() time.Duration {
		began := time.Now()
		m := new(dns.Msg).SetQuestion(name+".", dns.TypeA)
		if err := conn.WriteMsg(m); err != nil {
			c.t.Fatal(err)
		}
		answer, err := conn.ReadMsg()
		if err != nil || answer.Id != m.Id || len(answer.Answer) != 1 {
			c.t.Fatalf("look-up of %s: %v, %v", name, answer, err)
		}
		return time.Since(began)
	}
}

// inside connects a socket of a process's network namespace to its name server.
func (c *crowd) inside(pid int) net.Conn {
	c.t.Helper()
	var conn net.Conn
	done := make(chan error)
	go func() { // Its thread is not used again, as it is not unlocked.
		runtime.LockOSThread()
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			conn, err = net.Dial("udp", "127.0.0.11:53")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
	return conn
}

func (c *crowd) leave() {
	c.t.Helper()
	c.remove(c.ids)
	if _, err := c.api.NetworkPrune(context.Background(), client.NetworkPruneOptions{}); err != nil {
		c.t.Error(err)
	}
}

// median is that of n times.
func median(n int, once func() time.Duration) time.Duration {
	var took []time.Duration
	for range n {
		took = append(took, once())
	}
	slices.Sort(took)
	return took[n/2]
}
