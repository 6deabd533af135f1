package firewall

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is for what must be answered.
	patience = 30 * time.Second
	// doubt is for what must not be. A slow machine makes it prove less, never fail; that the way is there at all is proved
	// without rules.
	doubt = 700 * time.Millisecond
)

// attempt is somebody who asks a server. open says that without rules the named one answers, or nobody if it is empty.
type attempt struct {
	name string
	from *machine
	to   string
	// want is who answers, and whom it saw if that is told; empty for nobody.
	want string
	// open is who answers without rules.
	open string
	// proto is tcp if empty.
	proto string
}

// promises are the attempts of one family. at gives addresses of networks, out that of the host outside.
func (w *world) promises(at func(n, h int) string) []attempt {
	to := func(n, h int, port string) string { return net.JoinHostPort(at(n, h), port) }
	host := func(port string) string { return to(90, 1, port) }
	return []attempt{
		{name: "published port, from outside", from: w.out, to: host("8080"), want: "a1 " + at(90, 2), open: "host"},
		{name: "published UDP port, from outside", from: w.out, to: host("8080"), want: "a1 " + at(90, 2), open: "host", proto: "udp"},
		{name: "port published on one address, from outside", from: w.out, to: host("8081"), want: "b1", open: "host"},
		{name: "port published on another address, from outside", from: w.far, to: to(91, 1, "8081"), want: "host", open: "host"},
		{name: "port published on a loopback address, at an address of the host", from: w.out, to: host("8082"), want: "host", open: "host"},
		{name: "published port, from the host", from: w.host, to: host("8080"), want: "a1", open: "host"},
		{name: "published port, from another network", from: w.b1, to: host("8080"), want: "a1", open: "host"},
		{name: "published port at the own gateway, from another network", from: w.b1, to: to(2, 1, "8080"), want: "a1", open: "host"},
		{name: "published port, from the same network", from: w.a2, to: host("8080"), want: "host", open: "host"},
		{name: "published port, from the container itself", from: w.a1, to: host("8080"), want: "host", open: "host"},
		{name: "published port of an isolating network, from it", from: w.c2, to: host("8083"), want: "host", open: "host"},
		{name: "published port of an isolating network, from outside", from: w.out, to: host("8083"), want: "c1", open: "host"},
		{name: "published port of an internal network, from outside", from: w.out, to: host("8084"), want: "host", open: "host"},

		{name: "unpublished port, routed from outside", from: w.out, to: to(1, 2, "81"), open: "a1"},
		{name: "published port, routed from outside", from: w.out, to: to(1, 2, "80"), open: "a1"},
		{name: "published UDP port, routed from outside", from: w.out, to: to(1, 2, "80"), open: "a1", proto: "udp"},
		{name: "unpublished port, from another network", from: w.b1, to: to(1, 2, "81"), open: "a1"},
		{name: "published port at the container's address, from another network", from: w.b1, to: to(1, 2, "80"), open: "a1"},
		{name: "unpublished port, from the host", from: w.host, to: to(1, 2, "81"), want: "a1", open: "a1"},
		{name: "unpublished port, from the same network", from: w.a2, to: to(1, 2, "81"), want: "a1 " + at(1, 3), open: "a1"},
		{name: "unpublished UDP port, from the same network", from: w.a2, to: to(1, 2, "81"), want: "a1 " + at(1, 3), open: "a1", proto: "udp"},
		{name: "isolating network, from it", from: w.c1, to: to(3, 3, "81"), open: "c2"},
		{name: "isolating network, published port at the container's address", from: w.c2, to: to(3, 2, "80"), open: "c1"},
		{name: "isolating network, to outside", from: w.c1, to: to(90, 2, "80"), want: "out " + at(90, 1), open: "out"},

		{name: "internal network, to outside", from: w.i1, to: to(90, 2, "80"), open: "out"},
		{name: "internal network, from outside", from: w.out, to: to(4, 2, "80"), open: "i1"},
		{name: "internal network, to another network", from: w.i1, to: to(1, 2, "80"), open: "a1"},
		{name: "internal network, to a published port of another network", from: w.i1, to: host("8080"), open: "host"},
		{name: "internal network, from another network", from: w.a1, to: to(4, 2, "80"), open: "i1"},
		{name: "internal network, to itself", from: w.i1, to: to(4, 3, "81"), want: "i2", open: "i2"},

		{name: "to outside", from: w.a1, to: to(90, 2, "80"), want: "out " + at(90, 1), open: "out " + at(1, 2)},
		{name: "to outside, hidden behind another address", from: w.s1, to: to(90, 2, "80"), want: "out " + at(90, 9), open: "out " + at(7, 2)},
		{name: "routed network, to outside", from: w.r1, to: to(90, 2, "80"), want: "out " + at(5, 2), open: "out"},
		{name: "routed network, published port, from outside", from: w.out, to: to(5, 2, "80"), want: "r1 " + at(90, 2), open: "r1"},
		{name: "routed network, published port, from another network", from: w.b1, to: to(5, 2, "80"), want: "r1", open: "r1"},
		{name: "routed network, unpublished port, from outside", from: w.out, to: to(5, 2, "81"), open: "r1"},
		{name: "unprotected network, unpublished port, from outside", from: w.out, to: to(6, 2, "81"), want: "u1", open: "u1"},
		{name: "from one stranger to another", from: w.out, to: to(91, 2, "80"), open: "far"},
	}
}

func (a attempt) try(t *testing.T, want string) {
	t.Helper()
	proto := a.proto
	if proto == "" {
		proto = "tcp"
	}
	limit := patience
	if want == "" {
		limit = doubt
	}
	said := a.from.ask(proto, a.to, limit)
	if said == want || (want != "" && len(said) > len(want) && said[:len(want)+1] == want+" ") {
		return
	}
	t.Errorf("%s: %s asks %s %s: got %q, want %q", a.name, a.from.name, proto, a.to, said, want)
}

func tryAll(t *testing.T, all []attempt, want func(attempt) string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(func() { a.try(t, want(a)) })
	}
	wg.Wait()
}

func TestPromises(t *testing.T) {
	w := newWorld(t)
	w.rules.Forwarding = Families{IPv4: true, IPv6: true}
	all := append(w.promises(addr4), w.promises(addr6)...)
	all = append(all,
		attempt{name: "published port at a loopback address", from: w.host, to: "127.0.0.1:8080", want: "host", open: "host"},
		attempt{name: "published port at a loopback address", from: w.host, to: "[::1]:8080", want: "host", open: "host"},
		attempt{name: "port published at a loopback address", from: w.host, to: "127.0.0.1:8082", want: "host", open: "host"},
	)
	withoutRules := func(a attempt) string { return a.open }
	tryAll(t, all, withoutRules)
	w.spoof(t, true)
	backends(t, func(t *testing.T, b Backend) {
		if err := b.Apply(t.Context(), w.rules); err != nil {
			t.Fatal(err)
		}
		tryAll(t, all, func(a attempt) string { return a.want })
		w.spoof(t, false)
		t.Run("replaced under load", func(t *testing.T) { w.replaceUnderLoad(t, b) })
		t.Run("moved port", func(t *testing.T) { w.movePort(t, b) })
	})
	tryAll(t, all, withoutRules)
}

// spoof has a container send from an address that is not its own, with a way for what it sends but none back.
func (w *world) spoof(t *testing.T, arrives bool) {
	t.Helper()
	fresh := func(format string) string { w.spoofed++; return fmt.Sprintf(format, w.spoofed) }
	for _, address := range []string{fresh("10.66.0.%d"), fresh("fd66::%d")} {
		w.a1.addr(t, "lo", address)
		send := func() {
			err := w.a1.do(func() error {
				d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(address)}}
				to := addr4(90, 2)
				if netip.MustParseAddr(address).Is6() {
					to = addr6(90, 2)
				}
				c, err := d.Dial("udp", net.JoinHostPort(to, "80"))
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("who?"))
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		limit := time.Now().Add(map[bool]time.Duration{true: patience, false: doubt}[arrives])
		for !w.out.saw(address) && time.Now().Before(limit) {
			send()
			time.Sleep(10 * time.Millisecond)
		}
		if got := w.out.saw(address); got != arrives {
			t.Errorf("a container sends from %s, which is not its own: arrives = %v, want %v", address, got, arrives)
		}
	}
}

// replaceUnderLoad writes all rules again and again while somebody uses a published port, somebody tries one that is not,
// and a connection stays open.
func (w *world) replaceUnderLoad(t *testing.T, b Backend) {
	var served net.Conn
	accepted := make(chan struct{})
	err := w.a1.do(func() error {
		l, err := net.Listen("tcp", ":82")
		if err != nil {
			return err
		}
		go func() {
			defer l.Close()
			served, _ = l.Accept()
			close(accepted)
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := w.rules
	r.Networks = slices.Clone(r.Networks)
	r.Networks[0].Ports = append(slices.Clone(r.Networks[0].Ports), Port{
		Protocol: "tcp", Host: netip.MustParseAddrPort("0.0.0.0:8090"), Container: netip.MustParseAddrPort(addr4(1, 2) + ":82"),
	})
	apply := func(r Rules) {
		if n, ok := b.(*nft); ok {
			n.generation = 0 // As if somebody else had changed something.
		}
		if err := b.Apply(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	apply(r)
	var open net.Conn
	err = w.out.do(func() (err error) {
		open, err = net.DialTimeout("tcp", addr4(90, 1)+":8090", patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	<-accepted
	defer served.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.askOnAndOn(t)
	}()
	for busy := true; busy; {
		apply(r)
		select {
		case <-done:
			busy = false
		default:
		}
	}
	_ = open.SetDeadline(time.Now().Add(patience))
	_ = served.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 5)
	for _, way := range [][2]net.Conn{{open, served}, {served, open}} {
		if _, err := way[0].Write([]byte("still")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(way[1], buf); err != nil {
			t.Errorf("the connection that stayed open: %v", err)
		}
	}
	apply(w.rules)
}

// askOnAndOn uses a port that is published and tries one that is not.
func (w *world) askOnAndOn(t *testing.T) {
	for range 40 {
		if got, want := w.out.ask("tcp", addr4(90, 1)+":8080", patience), "a1 "+addr4(90, 2); got != want {
			t.Errorf("published port while rules are replaced: got %q, want %q", got, want)
			return
		}
		if got := w.out.ask("tcp", addr4(1, 2)+":81", 20*time.Millisecond); got != "" {
			t.Errorf("unpublished port while rules are replaced: got %q, want nobody", got)
			return
		}
	}
}

// movePort gives a UDP port to another container while a client goes on sending from one socket.
func (w *world) movePort(t *testing.T, b Backend) {
	var client net.Conn
	err := w.out.do(func() (err error) {
		client, err = net.Dial("udp", addr4(90, 1)+":8091")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, want := range []string{"a1", "a2", "a1"} {
		r := w.rules
		r.Networks = slices.Clone(r.Networks)
		r.Networks[0].Ports = append(slices.Clone(r.Networks[0].Ports), Port{
			Protocol: "udp", Host: netip.MustParseAddrPort("0.0.0.0:8091"), Container: netip.MustParseAddrPort(addr4(1, 2+i%2) + ":80"),
		})
		if err := b.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		said := ""
		for limit := time.Now().Add(patience); said != want+" "+addr4(90, 2) && time.Now().Before(limit); {
			if _, err := client.Write([]byte("who?")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				t.Fatal(err)
			}
			_ = client.SetReadDeadline(time.Now().Add(time.Second))
			buf := make([]byte, 64)
			n, _ := client.Read(buf)
			said = strings.TrimSpace(string(buf[:n]))
		}
		if said != want+" "+addr4(90, 2) {
			t.Errorf("UDP port after move %d: got %q, want %s", i, said, want)
		}
	}
}
