package netkeeper

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// limit is long enough for everything.
const limit = 30 * time.Second

// redirected names the file in which the netkeeper of a test says where it answers names, in the place of rules.
const redirected = "NETKEEPER_TEST_REDIRECTED"

// TestMain is the netkeeper process, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		os.Exit(Main(os.Args[2:], func(_ int, udp, tcp uint16) error {
			path := os.Getenv(redirected)
			if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%d %d", udp, tcp), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}))
	}
	os.Exit(m.Run())
}

// folder is the state of a netkeeper, which is ended with the test.
func folder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("entering network namespaces needs root")
	}
	dir := t.TempDir()
	t.Setenv(redirected, filepath.Join(dir, "redirected"))
	t.Cleanup(func() {
		if pid := pidIn(dir); pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return dir
}

// pidIn asks who serves a folder; zero when nobody does.
func pidIn(dir string) int {
	conn, err := net.Dial("unix", Socket(dir))
	if err != nil {
		return 0
	}
	defer conn.Close()
	w := outlive.NewWire(conn.(*net.UnixConn))
	var hello reply
	if err := w.Send(request{Op: opHello}); err != nil {
		return 0
	}
	if _, err := w.Receive(&hello); err != nil {
		return 0
	}
	return hello.Pid
}

// find is an engine.
func find(t *testing.T, dir, build string) *Client {
	t.Helper()
	k, err := FindWith(t.Context(), Starter{Dir: dir, Program: []string{os.Args[0]}, Build: build})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Disconnect)
	return k
}

// where is where names are answered, over UDP and TCP.
func where(t *testing.T) (udp, tcp string) {
	t.Helper()
	b, err := os.ReadFile(os.Getenv(redirected))
	if err != nil {
		t.Fatal(err)
	}
	one, two, _ := strings.Cut(string(b), " ")
	return "127.0.0.11:" + one, "127.0.0.11:" + two
}

// echo is a container that answers with what it hears.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

var web = Sandbox{
	ID: "web", Namespace: "/proc/self/ns/net",
	Endpoints: []Endpoint{{Network: "n", NetworkName: "net", Names: []string{"web"}, Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}},
}

// begin publishes a port to an echo and answers names in this namespace.
func begin(t *testing.T, k *Client) Port {
	t.Helper()
	got, err := k.Publish(t.Context(), "web", Port{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Container: echo(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Answer(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// exchange sends something over a connection and hears it again.
func exchange(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(limit))
	sent := make([]byte, 512)
	_, _ = rand.Read(sent)
	if _, err := c.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errors.New("something else came back")
	}
	return nil
}

func connect(to netip.AddrPort) error {
	c, err := net.DialTimeout("tcp", to.String(), limit)
	if err != nil {
		return err
	}
	defer c.Close()
	return exchange(c)
}

func lookUp(network, at, name, want string) error {
	c := dns.Client{Net: network, Timeout: limit}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), at)
	if err != nil {
		return err
	}
	if len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), want) {
		return fmt.Errorf("got %v", m)
	}
	return nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// works checks that the port and the names are served.
func works(t *testing.T, p Port) {
	t.Helper()
	check(t, connect(p.Host))
	udp, tcp := where(t)
	check(t, lookUp("udp", udp, "web.", "172.18.0.2"))
	check(t, lookUp("tcp", tcp, "web.net.", "172.18.0.2"))
}

// TestWithoutEngine: everything is served while no engine is there, and the next one finds what it has.
func TestWithoutEngine(t *testing.T) {
	dir := folder(t)
	k := find(t, dir, "")
	p := begin(t, k)
	before := k.Pid()
	k.Disconnect()
	works(t, p)
	k = find(t, dir, "")
	if k.Pid() != before {
		t.Errorf("it is process %d, it was %d", k.Pid(), before)
	}
	got, err := k.List(t.Context())
	check(t, err)
	same := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	addr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(List{Ports: []Held{{Port: p, Owner: "web"}}, Sandboxes: []Sandbox{web}}, got, same, addr); diff != "" {
		t.Error(diff)
	}
	_, err = k.Publish(t.Context(), "other", Port{Protocol: "tcp", Host: p.Host, Container: p.Container})
	if e, ok := errors.AsType[*InUseError](err); !ok || e.Container != "web" {
		t.Errorf("got %v", err)
	}
	check(t, k.Unpublish(t.Context(), "web"))
	check(t, k.Forget(t.Context(), "web"))
	if err := connect(p.Host); err == nil {
		t.Error("the port is open")
	}
	k.Disconnect()
	for deadline := time.Now().Add(limit); unix.Kill(before, 0) == nil && !zombie(before); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not leave")
		}
	}
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// TestKilled: the engine starts another one, which has everything again.
func TestKilled(t *testing.T) {
	dir := folder(t)
	k := find(t, dir, "")
	p := begin(t, k)
	for range 3 {
		before := k.Pid()
		check(t, unix.Kill(before, unix.SIGKILL))
		for deadline := time.Now().Add(limit); k.Pid() == before || k.Pid() == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no other one is started")
			}
		}
		works(t, p)
	}
	// Requests wait for the next one.
	check(t, unix.Kill(k.Pid(), unix.SIGKILL))
	got, err := k.Publish(t.Context(), "web", Port{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Container: p.Container})
	check(t, err)
	check(t, connect(got[0].Host))
	works(t, p)
}

// load makes connections and look-ups until its end, and says what failed.
type load struct {
	running  sync.WaitGroup
	done     [2]atomic.Int64
	mu       sync.Mutex
	failures []error
}

func (l *load) run(ctx context.Context, i int, pace time.Duration, do func() error) {
	l.running.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			l.running.Go(func() {
				l.done[i].Add(1)
				if err := do(); err != nil {
					l.mu.Lock()
					defer l.mu.Unlock()
					l.failures = append(l.failures, err)
				}
			})
		}
	})
}

// TestHandOver replaces it again and again: no connection is refused, no look-up is lost, and those that are open stay.
func TestHandOver(t *testing.T) {
	dir := folder(t)
	k := find(t, dir, "")
	p := begin(t, k)
	upstream, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	slow := &dns.Server{PacketConn: upstream, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		time.Sleep(20 * time.Millisecond) // So that there are always some on the way.
		r := new(dns.Msg).SetReply(q)
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(203, 0, 113, 1)}}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = slow.ActivateAndServe() }()
	t.Cleanup(func() { _ = slow.Shutdown() })
	asks := web
	asks.Upstream = []Upstream{{Server: upstream.LocalAddr().(*net.UDPAddr).AddrPort(), InNamespace: true}}
	check(t, k.Answer(t.Context(), asks))

	open := make([]net.Conn, 50)
	for i := range open {
		c, err := net.Dial("tcp", p.Host.String())
		check(t, err)
		defer c.Close()
		check(t, exchange(c))
		open[i] = c
	}
	udp, tcp := where(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var l load
	l.run(ctx, 0, 5*time.Millisecond, func() error { return connect(p.Host) })
	l.run(ctx, 1, 20*time.Millisecond, func() error { return lookUp("udp", udp, "web.", "172.18.0.2") })
	l.run(ctx, 1, 20*time.Millisecond, func() error { return lookUp("udp", udp, "example.com.", "203.0.113.1") })
	l.run(ctx, 1, 50*time.Millisecond, func() error { return lookUp("tcp", tcp, "web.", "172.18.0.2") })
	pids := map[int]bool{}
	for range 8 {
		// No build is called that: this engine must not come back by itself.
		k := find(t, dir, "another")
		pids[k.Pid()] = true
		k.Disconnect()
		works(t, p)
		for _, c := range open {
			check(t, exchange(c))
		}
	}
	stop()
	l.running.Wait()
	for _, err := range l.failures[:min(5, len(l.failures))] {
		t.Error(err)
	}
	t.Logf("%d connections, %d look-ups, %d failed, %d processes", l.done[0].Load(), l.done[1].Load(), len(l.failures), len(pids))
	if len(pids) != 8 {
		t.Errorf("%d processes, want 8", len(pids))
	}
	list, err := k.List(t.Context())
	if err != nil || len(list.Ports) != 1 || len(list.Sandboxes) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
}

// TestNextFails: the old one goes on when the new one dies in the middle of it.
func TestNextFails(t *testing.T) {
	dir := folder(t)
	k := find(t, dir, "")
	p := begin(t, k)
	before := k.Pid()
	for _, last := range []func(*outlive.Wire) error{
		func(*outlive.Wire) error { return nil },
		func(w *outlive.Wire) error { return w.Send(step{"something else"}) },
	} {
		conn, err := net.Dial("unix", Socket(dir))
		check(t, err)
		w := outlive.NewWire(conn.(*net.UnixConn))
		check(t, w.Send(request{Op: opHandOver}))
		l, err := w.ReceiveListener(&step{})
		check(t, err)
		l.SetUnlinkOnClose(false)
		l.Close()
		check(t, last(w))
		w.Close()
		works(t, p)
	}
	if now := pidIn(dir); now != before {
		t.Errorf("it is process %d, it was %d", now, before)
	}
}

// TestOtherBuildFails: a process of another build that cannot take over leaves the old one.
func TestOtherBuildFails(t *testing.T) {
	dir := folder(t)
	k := find(t, dir, "")
	p := begin(t, k)
	other, err := FindWith(t.Context(), Starter{Dir: dir, Program: []string{"/bin/false"}, Build: "another"})
	check(t, err)
	defer other.Disconnect()
	if other.Pid() != k.Pid() {
		t.Errorf("it is process %d, it was %d", other.Pid(), k.Pid())
	}
	works(t, p)
}

// FuzzRequests has a netkeeper hear anything.
func FuzzRequests(f *testing.F) {
	message := func(v any) []byte {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			f.Fatal(err)
		}
		file := os.NewFile(uintptr(pair[0]), "wire")
		c, err := net.FileConn(file)
		file.Close()
		if err != nil {
			f.Fatal(err)
		}
		if err := outlive.NewWire(c.(*net.UnixConn)).Send(v); err != nil {
			f.Fatal(err)
		}
		c.Close()
		b := make([]byte, 1<<16)
		n, err := unix.Read(pair[1], b)
		unix.Close(pair[1])
		if err != nil {
			f.Fatal(err)
		}
		return b[:n]
	}
	for _, r := range []request{
		{Op: opHello},
		{Op: opList},
		{Op: opForget, Owner: "web"},
		{Op: opUnpublish},
		{Op: opHandOver},
		{Op: opAnswer},
		{Op: opAnswer, Sandbox: &Sandbox{ID: "x", Endpoints: web.Endpoints}},
		{Op: opPublish, Ports: []Port{{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Container: netip.MustParseAddrPort("127.0.0.1:9")}}},
	} {
		f.Add(message(r))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := newKeeper(t.TempDir(), "", nil)
		check(t, err)
		k.idle.Stop()
		go func() { _ = k.loop.Run() }()
		l, err := outlive.Listen(Socket(k.dir))
		check(t, err)
		k.listener = l
		go k.accept(l, make(chan error, 1))
		conn, err := net.Dial("unix", Socket(k.dir))
		check(t, err)
		_, _ = conn.Write(b)
		_ = conn.(*net.UnixConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
		for _, held := range k.ports.List() {
			k.ports.Unpublish(held.Owner, nil)
		}
		l.Close()
	})
}
