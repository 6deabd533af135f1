package nameserver

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/gantry-containers/gantry/engine/poll"
)

// limit is long enough for everything.
const limit = 30 * time.Second

// rig is a server, with the ports of its sandboxes as they would be redirected to.
type rig struct {
	*Server
	udp, tcp string
}

// start has a loop of its own.
func start(t *testing.T) *rig {
	t.Helper()
	loop, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{}
	r.Server = New(loop, func(_ int, udp, tcp uint16) error {
		r.udp, r.tcp = fmt.Sprintf("127.0.0.11:%d", udp), fmt.Sprintf("127.0.0.11:%d", tcp)
		return nil
	})
	go func() { _ = loop.Run() }()
	return r
}

// answer adds a sandbox in this process's own network namespace.
func (r *rig) add(t *testing.T, s Sandbox) {
	t.Helper()
	if os.Geteuid() != 0 && s.Namespace != "" {
		t.Skip("entering a network namespace needs root")
	}
	if err := r.Answer(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Forget(s.ID) })
}

// here is the namespace of this process.
const here = "/proc/self/ns/net"

func ask(t *testing.T, network, at string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: limit}
	reply, _, err := c.Exchange(q, at)
	if err != nil {
		t.Fatalf("%v: %v", q.Question, err)
	}
	return reply
}

func query(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(dns.Fqdn(name), kind) }

// told is an answer in short: its code and its records, in order.
func told(m *dns.Msg) []string {
	list := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			list = append(list, rr.A.String())
		case *dns.AAAA:
			list = append(list, rr.AAAA.String())
		case *dns.PTR:
			list = append(list, rr.Ptr)
		default:
			list = append(list, rr.String())
		}
	}
	slices.Sort(list[1:])
	return list
}

func addresses(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// upstream is a scripted server.
type upstream struct {
	udp, tcp *dns.Server
	at       netip.AddrPort

	mu    sync.Mutex
	asked []dns.Question
}

func serve(t *testing.T, h func(w dns.ResponseWriter, q *dns.Msg)) *upstream {
	t.Helper()
	u := &upstream{}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.mu.Lock()
		u.asked = append(u.asked, q.Question[0])
		u.mu.Unlock()
		h(w, q)
	})
	var l net.Listener
	var p net.PacketConn
	for l == nil {
		var err error
		if p, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", p.LocalAddr().String()); err != nil {
			_ = p.Close()
			l = nil
		}
	}
	u.at = p.LocalAddr().(*net.UDPAddr).AddrPort()
	u.udp, u.tcp = &dns.Server{PacketConn: p, Handler: handler}, &dns.Server{Listener: l, Handler: handler}
	for _, s := range []*dns.Server{u.udp, u.tcp} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = s.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.asked)
}

// says answers each question with one address.
func says(a string) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(a)}}
		_ = w.WriteMsg(r)
	}
}

func fails(code int) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(q, code)) }
}

func TestNames(t *testing.T) {
	r := start(t)
	up := serve(t, says("203.0.113.9"))
	front := func(names ...string) Endpoint {
		return Endpoint{Network: "n1", NetworkName: "front", Names: names}
	}
	web, db1, db2, far := front("web", "0123456789ab"), front("db1", "DB"), front("db2", "db"), Endpoint{
		Network: "n2", NetworkName: "back.end", Names: []string{"far", "db"}, Addresses: addresses("172.20.0.2"),
	}
	web.Addresses, db1.Addresses, db2.Addresses = addresses("172.18.0.2", "fd00::2"), addresses("172.18.0.3"), addresses("172.18.0.4", "fd00::4")
	r.add(t, Sandbox{ID: "db1", Endpoints: []Endpoint{db1}})
	r.add(t, Sandbox{ID: "db2", Endpoints: []Endpoint{db2}})
	r.add(t, Sandbox{ID: "far", Endpoints: []Endpoint{far}})
	r.add(t, Sandbox{ID: "alone", Endpoints: []Endpoint{{Network: "n3", NetworkName: "alone", Names: []string{"hidden"}, Addresses: addresses("172.21.0.2")}}})
	second := Endpoint{Network: "n2", NetworkName: "back.end", Names: []string{"web"}, Addresses: addresses("172.20.0.3")}
	asking := Sandbox{
		ID: "web", Namespace: here, Endpoints: []Endpoint{web, second}, Links: map[string][]netip.Addr{"Store": addresses("172.18.0.3")},
		Upstream: []Upstream{{Server: up.at, InNamespace: true}},
	}
	r.add(t, asking)
	forwarded := 0
	for _, c := range []struct {
		name  string
		kind  uint16
		want  []string
		asked bool
	}{
		{"web", dns.TypeA, []string{"NOERROR", "172.18.0.2"}, false},
		{"WEB", dns.TypeAAAA, []string{"NOERROR", "fd00::2"}, false},
		{"0123456789ab", dns.TypeA, []string{"NOERROR", "172.18.0.2"}, false},
		{"db", dns.TypeA, []string{"NOERROR", "172.18.0.3", "172.18.0.4"}, false},
		{"db", dns.TypeAAAA, []string{"NOERROR", "fd00::4"}, false},
		{"db1", dns.TypeAAAA, []string{"NOERROR"}, false},
		{"db1", dns.TypeMX, []string{"NOERROR"}, false},
		{"db.front", dns.TypeA, []string{"NOERROR", "172.18.0.3", "172.18.0.4"}, false},
		{"db.back.end", dns.TypeA, []string{"NOERROR", "172.20.0.2"}, false},
		{"far", dns.TypeA, []string{"NOERROR", "172.20.0.2"}, false},
		{"far.front", dns.TypeA, []string{"NOERROR", "203.0.113.9"}, true},
		{"store", dns.TypeA, []string{"NOERROR", "172.18.0.3"}, false},
		{"hidden", dns.TypeA, []string{"NOERROR", "203.0.113.9"}, true},
		{"example.com", dns.TypeA, []string{"NOERROR", "203.0.113.9"}, true},
		{"example.com", dns.TypeMX, []string{"NOERROR", "203.0.113.9"}, true},
		{"3.0.18.172.in-addr.arpa", dns.TypePTR, []string{"NOERROR", "db1.front."}, false},
		{"2.0.20.172.in-addr.arpa", dns.TypePTR, []string{"NOERROR", "far.back.end."}, false},
		{"2.0.21.172.in-addr.arpa", dns.TypePTR, []string{"NOERROR", "203.0.113.9"}, true},
		{"4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", dns.TypePTR, []string{"NOERROR", "db2.front."}, false},
		{"x.ip6.arpa", dns.TypePTR, []string{"NOERROR", "203.0.113.9"}, true},
	} {
		for _, network := range []string{"udp", "tcp"} {
			at := r.udp
			if network == "tcp" {
				at = r.tcp
			}
			if diff := cmp.Diff(c.want, told(ask(t, network, at, query(c.name, c.kind)))); diff != "" {
				t.Errorf("%s %s over %s: %s", dns.TypeToString[c.kind], c.name, network, diff)
			}
			if c.asked {
				forwarded++
			}
			if n := up.count(); n != forwarded {
				t.Errorf("%s: %d questions were forwarded, want %d", c.name, n, forwarded)
			}
		}
	}
	r.Forget("db1")
	if diff := cmp.Diff([]string{"NOERROR", "172.18.0.4"}, told(ask(t, "udp", r.udp, query("db", dns.TypeA)))); diff != "" {
		t.Error(diff)
	}
	at := r.udp
	asking.Endpoints = asking.Endpoints[1:]
	r.add(t, asking)
	if r.udp != at {
		t.Error("the sockets were opened again")
	}
	if diff := cmp.Diff([]string{"NOERROR", "172.20.0.2"}, told(ask(t, "udp", r.udp, query("db", dns.TypeA)))); diff != "" {
		t.Error(diff)
	}
}

// TestInternal: without servers nobody is asked.
func TestInternal(t *testing.T) {
	r := start(t)
	r.add(t, Sandbox{ID: "web", Namespace: here})
	if got := ask(t, "udp", r.udp, query("example.com", dns.TypeA)); got.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", got)
	}
}

func TestNdots(t *testing.T) {
	r := start(t)
	up := serve(t, says("203.0.113.9"))
	r.add(t, Sandbox{ID: "web", Namespace: here, NdotsSet: true, Upstream: []Upstream{{Server: up.at}}})
	if diff := cmp.Diff([]string{"NOERROR"}, told(ask(t, "udp", r.udp, query("host", dns.TypeA)))); diff != "" {
		t.Error(diff)
	}
	if n := up.count(); n != 0 {
		t.Error("the server was asked")
	}
	if got := ask(t, "udp", r.udp, query("host", dns.TypeTXT)); len(got.Answer) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestServers: the next one is asked when one fails, is silent, lies or is not there.
func TestServers(t *testing.T) {
	good := serve(t, says("203.0.113.1"))
	silent := serve(t, func(dns.ResponseWriter, *dns.Msg) {})
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = closed.Close()
	liar := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		other := q.Copy()
		other.Id++
		says("198.51.100.1")(w, other)
		other = q.Copy()
		other.Question[0].Name = "another.example."
		says("198.51.100.2")(w, other)
	})
	for name, first := range map[string]netip.AddrPort{
		"SERVFAIL": serve(t, fails(dns.RcodeServerFailure)).at, "REFUSED": serve(t, fails(dns.RcodeRefused)).at,
		"silent": silent.at, "gone": gone, "liar": liar.at,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.add(t, Sandbox{ID: "web", Namespace: here, Upstream: []Upstream{{Server: first}, {Server: good.at}}})
			for network, at := range map[string]string{"udp": r.udp, "tcp": r.tcp} {
				if diff := cmp.Diff([]string{"NOERROR", "203.0.113.1"}, told(ask(t, network, at, query("example.com", dns.TypeA)))); diff != "" {
					t.Errorf("%s: %s", network, diff)
				}
			}
		})
	}
	t.Run("NXDOMAIN is an answer", func(t *testing.T) {
		t.Parallel()
		r := start(t)
		no := serve(t, fails(dns.RcodeNameError))
		r.add(t, Sandbox{ID: "web", Namespace: here, Upstream: []Upstream{{Server: no.at}, {Server: good.at}}})
		if got := ask(t, "udp", r.udp, query("example.com", dns.TypeA)); got.Rcode != dns.RcodeNameError {
			t.Errorf("got %v", got)
		}
	})
	t.Run("all fail", func(t *testing.T) {
		t.Parallel()
		r := start(t)
		r.add(t, Sandbox{ID: "web", Namespace: here, Upstream: []Upstream{{Server: gone}, {Server: gone}}})
		if got := ask(t, "udp", r.udp, query("example.com", dns.TypeA)); got.Rcode != dns.RcodeServerFailure {
			t.Errorf("got %v", got)
		}
	})
}

// TestVerbatim: what a server says comes as it is: EDNS, unknown records, that it was cut.
func TestVerbatim(t *testing.T) {
	r := start(t)
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		if w.LocalAddr().Network() == "udp" {
			reply.Truncated = true
		}
		reply.Answer = []dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: 65280, Class: dns.ClassINET}, Rdata: "c0ffee"}}
		reply.SetEdns0(4000, q.IsEdns0() != nil && q.IsEdns0().Do())
		_ = w.WriteMsg(reply)
	})
	r.add(t, Sandbox{ID: "web", Namespace: here, Upstream: []Upstream{{Server: up.at, InNamespace: true}}})
	q := query("example.com", 65280)
	q.SetEdns0(2000, true)
	for network, at := range map[string]string{"udp": r.udp, "tcp": r.tcp} {
		got := ask(t, network, at, q)
		if opt := got.IsEdns0(); opt == nil || !opt.Do() || opt.UDPSize() != 4000 || len(got.Answer) != 1 || got.Truncated != (network == "udp") {
			t.Errorf("%s: got %v", network, got)
		}
	}
}

// TestManyAddresses: what does not fit is cut, and all of it told over TCP.
func TestManyAddresses(t *testing.T) {
	r := start(t)
	const count = 100
	for i := range count {
		r.add(t, Sandbox{ID: fmt.Sprint(i), Endpoints: []Endpoint{{Network: "n", NetworkName: "n", Names: []string{fmt.Sprint("c", i), "all"}, Addresses: addresses(fmt.Sprintf("10.0.0.%d", i))}}})
	}
	r.add(t, Sandbox{ID: "web", Namespace: here, Endpoints: []Endpoint{{Network: "n", NetworkName: "n", Names: []string{"web"}}}})
	if got := ask(t, "udp", r.udp, query("all", dns.TypeA)); !got.Truncated || len(got.Answer) == 0 {
		t.Errorf("got %v", got)
	}
	if got := ask(t, "tcp", r.tcp, query("all", dns.TypeA)); got.Truncated || len(got.Answer) != count {
		t.Errorf("got %d answers", len(got.Answer))
	}
}

// TestFlood: more questions than may wait are refused, and what is ours is answered meanwhile.
func TestFlood(t *testing.T) {
	r := start(t)
	silent := serve(t, func(dns.ResponseWriter, *dns.Msg) {})
	r.add(t, Sandbox{
		ID: "web", Namespace: here, Upstream: []Upstream{{Server: silent.at}},
		Endpoints: []Endpoint{{Network: "n", NetworkName: "n", Names: []string{"web"}, Addresses: addresses("172.18.0.2")}},
	})
	c, err := net.Dial("udp", r.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := query("example.com", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1024)
	deadline := time.Now().Add(limit)
	for refused := false; !refused; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is refused")
		}
		for range 64 {
			_, _ = c.Write(raw)
			_, _ = c.Write(raw[:7]) // and garbage
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := c.Read(b)
		refused = err == nil && n >= header && b[3]&0xf == dns.RcodeRefused
	}
	r.loop.Lock()
	waiting := r.questions
	r.loop.Unlock()
	if waiting > maxOfOne {
		t.Errorf("%d questions wait", waiting)
	}
	if diff := cmp.Diff([]string{"NOERROR", "172.18.0.2"}, told(ask(t, "tcp", r.tcp, query("web", dns.TypeA)))); diff != "" {
		t.Error(diff)
	}
}

func TestNoSandbox(t *testing.T) {
	r := start(t)
	if err := r.Answer(Sandbox{}); err == nil {
		t.Error("one without an id is taken")
	}
	if err := r.Answer(Sandbox{ID: "x", Namespace: "/nowhere"}); err == nil {
		t.Error("one without a namespace is taken")
	}
	if err := r.Answer(Sandbox{ID: "x", Namespace: "/dev/null"}); err == nil {
		t.Error("what is no namespace is taken")
	}
	if list := r.List(); len(list) != 0 {
		t.Errorf("got %v", list)
	}
}

// TestManyNetworks: the table is as large as what is in it, and empty afterwards.
func TestManyNetworks(t *testing.T) {
	r := start(t)
	var first Sandbox
	for i := range 1000 {
		s := Sandbox{ID: fmt.Sprint(i), Endpoints: []Endpoint{{
			Network: fmt.Sprint("n", i%200), NetworkName: fmt.Sprint("net", i%200), Names: []string{fmt.Sprint("c", i), "same"},
			Addresses: addresses(fmt.Sprintf("10.%d.0.%d", i%200, 2+i/200)),
		}}}
		if i == 0 {
			first = s
		}
		if err := r.Answer(s); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := r.table.find(first, "same"); !ok || len(got) != 5 {
		t.Errorf("got %v", got)
	}
	if _, ok := r.table.find(first, "c1"); ok {
		t.Error("a name of another network is known")
	}
	for _, s := range r.List() {
		r.Forget(s.ID)
	}
	if len(r.table) != 0 {
		t.Errorf("%d networks are left", len(r.table))
	}
}

func FuzzAnswer(f *testing.F) {
	for _, q := range []*dns.Msg{query("web", dns.TypeA), query("example.com", dns.TypeMX), query("3.0.18.172.in-addr.arpa", dns.TypePTR)} {
		raw, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, true)
		f.Add(raw[:len(raw)-3], false)
	}
	f.Add([]byte{1, 2, 0x80}, false)
	f.Add(append(make([]byte, header), 0xc0, 0x0c), false)
	s := New(nil, nil)
	sb := Sandbox{ID: "web", Upstream: []Upstream{{}}, Endpoints: []Endpoint{{Network: "n", NetworkName: "n", Names: []string{"web"}, Addresses: addresses("172.18.0.3", "fd00::1")}}}
	s.table.add(sb)
	f.Fuzz(func(t *testing.T, raw []byte, tcp bool) {
		reply, forward := s.answer(sb, raw, tcp)
		if forward && reply != nil {
			t.Error("answered, and forwarded")
		}
		if reply != nil && (len(reply) < header || reply[0] != raw[0] || reply[1] != raw[1] || reply[2]&0x80 == 0) {
			t.Errorf("%x is no answer to %x", reply, raw)
		}
		if reply != nil {
			if err := new(dns.Msg).Unpack(reply); err != nil {
				t.Errorf("%x: %v", reply, err)
			}
		}
	})
}
