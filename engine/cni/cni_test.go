package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/engine/networks"
)

// steps are the networks of a test.
type steps struct {
	places map[string]*networks.Place
	fail   error
	// join is called before a step has its place.
	join func()
}

func (s *steps) JoinStep(_ context.Context, step, namespace, device string) (*networks.Place, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	if s.join != nil {
		s.join()
	}
	p := &networks.Place{
		Device: device, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		IPv4: netip.MustParsePrefix("172.17.0.2/16"), Gateway4: netip.MustParseAddr("172.17.0.1"),
	}
	if strings.Contains(namespace, "six") {
		p.IPv6 = netip.MustParsePrefix("fd00::2/64")
	}
	s.places[step] = p
	return p, nil
}

func (s *steps) Step(step string) *networks.Place { return s.places[step] }

func (s *steps) LeaveStep(_ context.Context, step string) error {
	delete(s.places, step)
	return s.fail
}

// folder is short: sockets are in it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listen(t *testing.T, n Networks) (socket string, s *Server) {
	t.Helper()
	socket = filepath.Join(folder(t), "cni.sock")
	s, err := Listen(socket, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return socket, s
}

// call runs the plug-in as BuildKit does; "COMMAND step namespace" leaves out what does not follow.
func call(t *testing.T, name, socket, version, line string) (status int, out, notes string) {
	t.Helper()
	words := append(strings.Fields(line), "", "", "")
	p := plugin{name: name, env: func(v string) string {
		return map[string]string{"CNI_COMMAND": words[0], "CNI_CONTAINERID": words[1], "CNI_NETNS": words[2], "CNI_IFNAME": "eth0"}[v]
	}}
	in, err := json.Marshal(config{Version: version, Name: "gantry", Type: name, Engine: socket})
	if err != nil {
		t.Fatal(err)
	}
	var o, n bytes.Buffer
	status = p.run(bytes.NewReader(in), &o, &n)
	return status, o.String(), n.String()
}

func TestCalls(t *testing.T) {
	s := &steps{places: map[string]*networks.Place{}}
	socket, _ := listen(t, s)
	const (
		four = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/ns"}],` +
			`"ips":[{"address":"172.17.0.2/16","gateway":"172.17.0.1","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"172.17.0.1"}]}`
		six = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/six"}],` +
			`"ips":[{"address":"172.17.0.2/16","gateway":"172.17.0.1","interface":0},{"address":"fd00::2/64","interface":0}],` +
			`"routes":[{"dst":"0.0.0.0/0","gw":"172.17.0.1"}]}`
	)
	for _, test := range []struct {
		name, version, line string
		status              int
		out                 string
	}{
		{pluginName, "1.0.0", "VERSION", 0, `{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}`},
		{pluginName, "1.0.0", "ADD one /ns", 0, four},
		{pluginName, "1.0.0", "ADD two /six", 0, six},
		{pluginName, "1.0.0", "CHECK one /ns", 0, ""},
		{pluginName, "1.0.0", "DEL one", 0, ""},
		{pluginName, "1.0.0", "DEL one /ns", 0, ""},
		{pluginName, "1.0.0", "CHECK one /ns", 1, `{"cniVersion":"1.0.0","code":100,"msg":"it has none"}`},
		{loopbackName, "0.3.1", "ADD one /ns", 0, `{"cniVersion":"0.3.1","interfaces":[{"name":"eth0","sandbox":"/ns"}]}`},
		{loopbackName, "0.3.1", "DEL one", 0, ""},
		{pluginName, "2.0.0", "ADD one /ns", 1, `{"cniVersion":"2.0.0","code":1,"msg":"CNI 2.0.0 is not supported"}`},
		{pluginName, "1.0.0", "ADD one", 1, `{"cniVersion":"1.0.0","code":4,"msg":"CNI_NETNS is missing"}`},
		{pluginName, "1.0.0", "DEL", 1, `{"cniVersion":"1.0.0","code":4,"msg":"CNI_CONTAINERID is missing"}`},
		{pluginName, "1.0.0", "GC one /ns", 1, `{"cniVersion":"1.0.0","code":4,"msg":"CNI_COMMAND: \"GC\" is none of ADD, DEL, CHECK and VERSION"}`},
	} {
		status, out, _ := call(t, test.name, socket, test.version, test.line)
		if d := cmp.Diff(test.out, strings.TrimSpace(out)); status != test.status || d != "" {
			t.Errorf("%s %s: %d, %s", test.name, test.line, status, d)
		}
	}
	s.fail = errors.New("no bridge")
	if status, out, _ := call(t, pluginName, socket, "1.0.0", "ADD three /ns"); status != 1 || !strings.Contains(out, `"code":100,"msg":"no bridge"`) {
		t.Error(status, out)
	}
}

// Without an engine nothing can be had; what there was is found by the next one.
func TestNoEngine(t *testing.T) {
	socket := filepath.Join(folder(t), "none")
	if status, out, _ := call(t, pluginName, socket, "1.0.0", "ADD one /ns"); status != 1 || !strings.Contains(out, `"code":11`) {
		t.Error(status, out)
	}
	if status, out, notes := call(t, pluginName, socket, "1.0.0", "DEL one /ns"); status != 0 || out != "" || !strings.Contains(notes, "next engine") {
		t.Error(status, out, notes)
	}
	if status, out, _ := call(t, pluginName, socket, "", "ADD one /ns"); status != 1 || !strings.Contains(out, `"cniVersion":"1.0.0"`) {
		t.Error(status, out)
	}
}

// A step that nobody waits for has nothing.
func TestPluginKilled(t *testing.T) {
	s := &steps{places: map[string]*networks.Place{}}
	socket, server := listen(t, s)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	joined := make(chan struct{})
	s.join = func() {
		_ = conn.Close()
		close(joined)
	}
	if err := json.NewEncoder(conn).Encode(request{Command: "ADD", Step: "one", Namespace: "/ns", Device: "eth0"}); err != nil {
		t.Fatal(err)
	}
	<-joined
	if err := server.Close(); err != nil || len(s.places) != 0 {
		t.Error(err, s.places)
	}
}

// An engine that ends does not wait for who says nothing.
func TestSilent(t *testing.T) {
	socket, server := listen(t, &steps{})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	for _, program := range []string{"/old/engine", "/bin/true"} {
		in, err := Install(dir, program, "/run/cni.sock")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(in.Config)
		if want := `{"cniVersion":"1.0.0","name":"gantry","type":"gantry-bridge","engine":"/run/cni.sock"}`; err != nil || string(b) != want {
			t.Errorf("%s, %v", b, err)
		}
		entries, err := os.ReadDir(in.Programs)
		if err != nil || len(entries) != 2 {
			t.Error(entries, err)
		}
		for _, e := range entries {
			if to, err := os.Readlink(filepath.Join(in.Programs, e.Name())); err != nil || to != program {
				t.Error(e.Name(), to, err)
			}
		}
	}
}

func TestInvoked(t *testing.T) {
	for program, want := range map[string]bool{"/x/gantry-bridge": true, "loopback": true, "gantry-engine": false} {
		if Invoked(program) {
			t.Errorf("%s outside of CNI", program)
		}
		t.Run(program, func(t *testing.T) {
			t.Setenv("CNI_COMMAND", "ADD")
			if Invoked(program) != want {
				t.Error(!want)
			}
		})
	}
}
