package systemd

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// peer is a service manager that follows a script: for each call its name, and what is
// answered.
type peer struct {
	t       *testing.T
	script  []exchange
	calls   []string
	address string
	done    chan struct{}
}

// exchange is one call and what follows it.
type exchange struct {
	member string
	// reply is an object path, "" for nothing, or "ERROR NAME: MESSAGE".
	reply string
	// result ends the job of the reply, before the reply itself when early.
	result string
	early  bool
	hangUp bool
	silent bool
}

// manage starts a peer and connects to it.
func manage(t *testing.T, greeting string, script ...exchange) (*Manager, *peer) {
	t.Helper()
	p := &peer{t: t, script: script, address: filepath.Join(t.TempDir(), "s"), done: make(chan struct{})}
	l, err := net.Listen("unix", p.address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		defer func() { _ = l.Close() }()
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		p.serve(c, greeting)
	}()
	c, err := dial(p.address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close(); <-p.done })
	return &Manager{c}, p
}

func (p *peer) serve(c net.Conn, greeting string) {
	in := bufio.NewReader(c)
	for answer := range strings.SplitSeq(greeting+",ERROR,", ",") {
		line, err := in.ReadString('\n')
		if err != nil {
			p.t.Error(err)
			return
		}
		p.calls = append(p.calls, strings.Trim(line, "\x00\r\n"))
		if answer != "" {
			_, _ = io.WriteString(c, answer+"\r\n")
		}
	}
	if in.Buffered() > 0 {
		p.t.Error("a message came before the answer that BEGIN was read with")
	}
	for i, e := range p.script {
		m, err := readMessage(in)
		if err != nil {
			p.t.Errorf("call %d: %v", i, err)
			return
		}
		p.calls = append(p.calls, m.member)
		if m.member != e.member {
			p.t.Errorf("call %d is %s, want %s", i, m.member, e.member)
		}
		if e.hangUp {
			return
		}
		p.answer(c, m, &e)
		if e.silent {
			_, _ = in.ReadByte() // until the other side gives up
		}
	}
}

func (p *peer) answer(c io.Writer, m *message, e *exchange) {
	reply := &message{kind: methodReturn, serial: 100 + m.serial, replyTo: m.serial}
	name, text, isError := strings.Cut(strings.TrimPrefix(e.reply, "ERROR "), ": ")
	switch {
	case isError:
		reply.kind, reply.errorName, reply.body = errorReply, name, []gvariant.Value{gvariant.String(text)}
	case e.reply != "":
		reply.body = []gvariant.Value{{Type: "o", Text: e.reply}}
	}
	var out []byte
	signal := func(job, result string) []byte {
		s := &message{kind: signalSent, serial: 1, path: "/org/freedesktop/systemd1", iface: service + ".Manager", member: "JobRemoved", body: []gvariant.Value{
			gvariant.Uint32(1), {Type: "o", Text: job}, gvariant.String("u"), gvariant.String(result),
		}}
		return s.encode()
	}
	if e.early {
		out = append(out, signal(e.reply, e.result)...)
	}
	out = append(out, reply.encode()...)
	if e.result != "" && !e.early {
		out = append(out, signal("/another/job", "failed")...)
		out = append(out, signal(e.reply, e.result)...)
	}
	for half := len(out) / 2; len(out) > 0; half = len(out) { // it comes in pieces
		_, _ = c.Write(out[:half])
		out = out[half:]
	}
}

func readMessage(in *bufio.Reader) (*message, error) {
	header, err := in.Peek(fixedHeader)
	if err != nil {
		return nil, err
	}
	total, err := length(header)
	if err != nil {
		return nil, err
	}
	b := make([]byte, total)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, err
	}
	return decode(b)
}

const okay = "OK 0123"

func TestStartScope(t *testing.T) {
	list := []plan.Property{
		{Name: "Slice", Value: gvariant.String("a.slice")},
		{Name: "AllowedCPUs", Value: gvariant.Bytes([]byte{1}), MayMiss: true},
	}
	start := "StartTransientUnit"
	for name, c := range map[string]struct {
		greeting string
		script   []exchange
		calls    []string // after the greeting
		fails    string
	}{
		"in one call":                {okay, []exchange{{member: start, reply: "/j", result: "done"}}, []string{start}, ""},
		"by a peer that asks who":    {"DATA,OK 0", []exchange{{member: start, reply: "/j", result: "done"}}, []string{start}, ""},
		"done before the reply came": {okay, []exchange{{member: start, reply: "/j", result: "done", early: true}}, []string{start}, ""},
		"after an older one failed": {okay, []exchange{
			{member: start, reply: "ERROR " + unitExists + ": x"}, {member: "ResetFailedUnit"}, {member: start, reply: "/j", result: "done"},
		}, []string{start, "ResetFailedUnit", start}, ""},
		"while another runs": {okay, []exchange{
			{member: start, reply: "ERROR " + unitExists + ": Unit u.scope was already loaded"},
			{member: "ResetFailedUnit"},
			{member: start, reply: "ERROR " + unitExists + ": Unit u.scope was already loaded"},
		}, []string{start, "ResetFailedUnit", start}, "StartTransientUnit: Unit u.scope was already loaded"},
		"with a systemd too old for a property": {okay, []exchange{
			{member: start, reply: "ERROR x.y: Cannot set property AllowedCPUs, or unknown property."}, {member: start, reply: "/j", result: "done"},
		}, []string{start, start}, ""},
		"with a property that must not miss": {okay, []exchange{
			{member: start, reply: "ERROR x.y: Cannot set property Slice, or unknown property."},
		}, []string{start}, "Cannot set property Slice"},
		"that fails":           {okay, []exchange{{member: start, reply: "/j", result: "failed"}}, []string{start}, `start of u.scope: the job ended as "failed"`},
		"without permission":   {okay, []exchange{{member: start, reply: "ERROR x.AccessDenied: no"}}, []string{start}, "StartTransientUnit: no"},
		"by who hangs up":      {okay, []exchange{{member: start, hangUp: true}}, []string{start}, "StartTransientUnit: "},
		"by who answers oddly": {okay, []exchange{{member: start}}, []string{start}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			m, p := manage(t, c.greeting, c.script...)
			err := m.StartScope("u.scope", list, 42)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("got %v, want %q", err, c.fails)
			}
			m.Close()
			<-p.done
			greeting := len(p.calls) - len(c.calls)
			if diff := cmp.Diff(c.calls, p.calls[max(greeting, 0):]); diff != "" {
				t.Error(diff)
			}
			if p.calls[0] != "AUTH EXTERNAL" || p.calls[greeting-1] != "BEGIN" {
				t.Errorf("greeted with %q", p.calls)
			}
		})
	}
}

func TestStopOfAUnitThatIsGone(t *testing.T) {
	m, _ := manage(t, okay, exchange{member: "StopUnit", reply: "ERROR " + noSuchUnit + ": not loaded"}, exchange{member: "StopUnit", reply: "/j", result: "canceled"})
	for range 2 {
		if err := m.Stop("u.scope"); err != nil {
			t.Error(err)
		}
	}
}

func TestSetProperties(t *testing.T) {
	list := []plan.Property{
		{Name: "MemoryMax", Value: gvariant.Uint64(5)},
		{Name: "AllowedCPUs", Value: gvariant.Bytes([]byte{1}), MayMiss: true},
	}
	m, _ := manage(t, okay, exchange{member: "SetUnitProperties", reply: "ERROR x.y: Cannot set property AllowedCPUs"},
		exchange{member: "SetUnitProperties"}, exchange{member: "SetUnitProperties", reply: "ERROR " + noSuchUnit + ": gone"})
	if err := m.SetProperties("u.scope", list); err != nil {
		t.Error(err)
	}
	var refused *Error
	if err := m.SetProperties("u.scope", list); !errors.As(err, &refused) || refused.Name != noSuchUnit {
		t.Errorf("of a unit that is gone: %v", err)
	}
}

func TestAManagerThatDoesNotAnswer(t *testing.T) {
	m, _ := manage(t, okay, exchange{member: "StartTransientUnit", reply: "/j", silent: true})
	job, err := m.startTransient("u.scope", nil)
	if err != nil {
		t.Fatal(err)
	}
	m.conn.within(50 * time.Millisecond)
	if err := m.finish("u.scope", job); err == nil || err.Error() != "start of u.scope: no answer in time" {
		t.Errorf("got %v", err)
	}
}

func TestOpenWithoutAManager(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	if _, err := Open(true); !errors.Is(err, ErrNotRunning) || strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v; the text of ENOENT would pass for a missing program", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := Open(true); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestRefusedAuthentication(t *testing.T) {
	address := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "REJECTED KERBEROS\r\n")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	if _, err := dial(address, time.Second); err == nil || !strings.Contains(err.Error(), "REJECTED KERBEROS") {
		t.Errorf("got %v", err)
	}
}

func TestUserSockets(t *testing.T) {
	for _, c := range []struct{ dir, addresses, private, bus string }{
		{"/run/user/5", "", "/run/user/5/systemd/private", "/run/user/5/bus"},
		{"/run/user/5", "unix:path=/tmp/a%20b,guid=1", "/run/user/5/systemd/private", "/tmp/a b"},
		{"", "tcp:host=x;unix:abstract=/y,guid=1", "", "@/y"},
		{"relative", "", "", ""},
		{"", "nonsense", "", ""},
	} {
		private, bus := userSockets(c.dir, c.addresses)
		if private != c.private || bus != c.bus {
			t.Errorf("%q, %q: got %q, %q", c.dir, c.addresses, private, bus)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	const devices = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n  8 sd\n136 other\n"
	rule := func(kind byte, major, minor int64) plan.DeviceRule {
		return plan.DeviceRule{Allow: true, Type: kind, Major: major, Minor: minor, Access: "rw"}
	}
	rules := []plan.DeviceRule{
		{Type: 'a', Major: -1, Minor: -1, Access: "rwm"},
		rule('c', 1, 3), rule('b', 8, 0), rule('c', 136, -1), rule('b', 136, -1),
		rule('c', -1, -1), rule('b', -1, -1), rule('c', 77, -1), rule('c', -1, 5),
	}
	var got []string
	for _, p := range strictDevices(rules, devices) {
		got = append(got, p.String())
	}
	want := []string{
		"DevicePolicy='strict'",
		"DeviceAllow=[('/dev/char/1:3', 'rw'), ('/dev/block/8:0', 'rw'), ('char-pts', 'rw'), ('block-other', 'rw'), ('char-*', 'rw'), ('block-*', 'rw')]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	open, err := DeviceProperties([]plan.DeviceRule{{Allow: true, Type: 'a', Major: -1, Minor: -1, Access: "rwm"}})
	if err != nil || len(open) != 1 || open[0].String() != "DevicePolicy='auto'" {
		t.Errorf("all allowed: %v, %v", open, err)
	}
}
