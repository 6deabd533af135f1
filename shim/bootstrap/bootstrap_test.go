package bootstrap

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	api "github.com/gantry-containers/gantry/shim/api/bootstrap"
	"github.com/gantry-containers/gantry/shim/api/known"
)

// What containerd 1.6.20 and 2.4.2 wrote to a shim's stdin, recorded under ctr run. 1.7 and 2.2 write what 1.6 does.
const (
	recorded16Options = "0a1a636f6e7461696e6572642e72756e632e76312e4f7074696f6e731210320e2f7573722f7362696e2f72756e63"
	recorded16Generic = "0a1972756e74696d656f7074696f6e732e76312e4f7074696f6e73121212102f6574632f67616e7472792e746f6d6c"
	recorded24        = "0a056e6f6f7074120764656661756c742205322e342e322a172f746d702f626f6f742f7265632f7332342e7474727063" +
		"32112f746d702f626f6f742f7265632f7332343a282f776f726b2f6d61696e2f2e746f6f6c732f636c69656e74732f62696e2f636f6e7461" +
		"696e6572644a112f72756e2f636f6e7461696e6572642f73"
	recorded24Options = "0a087265633230343232120764656661756c742205322e342e322a172f746d702f626f6f742f7265632f7332342e7474" +
		"72706332112f746d702f626f6f742f7265632f7332343a282f776f726b2f6d61696e2f2e746f6f6c732f636c69656e74732f62696e2f636f" +
		"6e7461696e65726442300a2e0a1a636f6e7461696e6572642e72756e632e76312e4f7074696f6e731210320e2f7573722f7362696e2f7275" +
		"6e634a112f72756e2f636f6e7461696e6572642f73"
	recorded24Generic = "0a087265633235363736120764656661756c742205322e342e322a172f746d702f626f6f742f7265632f7332342e7474" +
		"72706332112f746d702f626f6f742f7265632f7332343a282f776f726b2f6d61696e2f2e746f6f6c732f636c69656e74732f62696e2f636f" +
		"6e7461696e65726442310a2f0a1972756e74696d656f7074696f6e732e76312e4f7074696f6e73121212102f6574632f67616e7472792e74" +
		"6f6d6c4a112f72756e2f636f6e7461696e6572642f73"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func marshal(t *testing.T, p *api.BootstrapParams) []byte {
	t.Helper()
	b, err := p.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRead(t *testing.T) {
	runc := &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: []byte("\x32\x0e/usr/sbin/runc")}
	generic := &known.Any{TypeUrl: "runtimeoptions.v1.Options", Value: []byte("\x12\x10/etc/gantry.toml")}
	flags := func(id string) Params {
		return Params{ID: id, Namespace: "default", GRPCAddress: "/flag", TTRPCAddress: "/env"}
	}
	old := func(p Params) Params { p.MaxVersion, p.SocketDir = 2, "/run/containerd/s"; return p }
	recorded := func(id string, options *known.Any) Params {
		return Params{
			ID: id, Namespace: "default", GRPCAddress: "/tmp/boot/rec/s24", TTRPCAddress: "/tmp/boot/rec/s24.ttrpc",
			SocketDir: "/run/containerd/s", Structured: true, MaxVersion: 3, Options: options,
		}
	}
	with := func(p Params, change func(*Params)) Params { change(&p); return p }
	dir := "/s"
	tests := []struct {
		name  string
		flags Params
		stdin []byte
		want  Params
	}{
		{"1.6", flags("c"), nil, old(flags("c"))},
		{"1.6 with options", flags("c"), unhex(t, recorded16Options), with(old(flags("c")), func(p *Params) { p.Options = runc })},
		{"1.6 with a file", flags("c"), unhex(t, recorded16Generic), with(old(flags("c")), func(p *Params) { p.Options = generic })},
		{"2.4", flags("noopt"), unhex(t, recorded24), recorded("noopt", nil)},
		{"2.4 with options", flags("rec20422"), unhex(t, recorded24Options), recorded("rec20422", runc)},
		{"2.4 with a file", flags("rec25676"), unhex(t, recorded24Generic), recorded("rec25676", generic)},
		{
			"as little as may be", flags("c"), marshal(t, &api.BootstrapParams{InstanceId: "c", Namespace: "default"}),
			with(old(flags("c")), func(p *Params) { p.Structured, p.MaxVersion = true, 3 }),
		},
		{"debug, a directory, extensions of others", flags("c"), marshal(t, &api.BootstrapParams{
			InstanceId: "c", Namespace: "default", LogLevel: api.LogLevel_LOG_LEVEL_TRACE, SocketDir: &dir,
			Extensions: []*api.Extension{{}, {Value: &known.Any{TypeUrl: "io.x.Y"}}, {Value: runc}, {Value: generic}},
		}), with(flags("c"), func(p *Params) {
			p.Structured, p.MaxVersion, p.Debug, p.SocketDir, p.Options = true, 3, true, "/s", runc
		})},
		{"warnings only", flags("c"), marshal(t, &api.BootstrapParams{
			InstanceId: "c", Namespace: "default", LogLevel: api.LogLevel_LOG_LEVEL_WARN,
		}), with(old(flags("c")), func(p *Params) { p.Structured, p.MaxVersion = true, 3 })},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Read(test.flags, test.stdin)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(known.Any{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadGarbage(t *testing.T) {
	tests := []struct {
		name  string
		stdin []byte
		want  string
	}{
		{"text", []byte("hello, world"), "its 12 bytes are neither"},
		{"JSON", []byte(`{"instance_id":"c"}`), "neither"},
		{"another's", unhex(t, recorded24), `bootstrap parameters of container "noopt", but -id and -namespace say "c" in "default"`},
		{"cut off", unhex(t, recorded24)[:40], "neither"},
		{"no type", []byte{0x12, 1, 'x'}, "neither"},
		{"zeros", make([]byte, 100), "neither"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(Params{ID: "c", Namespace: "default"}, test.stdin)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "stdin: ") {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{recorded16Options, recorded24Options} {
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("rec20422", b)
	}
	f.Fuzz(func(_ *testing.T, id string, stdin []byte) {
		_, _ = Read(Params{ID: id, Namespace: "default"}, stdin)
	})
}

func TestAnswer(t *testing.T) {
	const address = "unix:///run/containerd/s/0123"
	if want, got := `{"version":3,"address":"`+address+`","protocol":"ttrpc"}`, string(Params{Sandbox: true}.Answer(address)); got != want {
		t.Errorf("the answer for a sandbox is %s, want %s", got, want)
	}
	if got := string(Params{}.Answer(address)); got != address {
		t.Errorf("1.6 to 2.2 read %q", got)
	}
	var result api.BootstrapResult
	if err := result.UnmarshalVT(Params{Structured: true}.Answer(address)); err != nil {
		t.Fatal(err)
	}
	if result.Version != 3 || result.Address != address || result.Protocol != "ttrpc" {
		t.Errorf("2.3 reads %+v", &result)
	}
}

func TestAddress(t *testing.T) {
	p := Params{GRPCAddress: "/run/containerd/containerd.sock", Namespace: "default", SocketDir: "/run/containerd/s"}
	// printf /run/containerd/containerd.sock/default/c | sha256sum
	const want = "unix:///run/containerd/s/9cb583b155a36d5eb6ede9fb14dbf6eb7e8a23b3e803e95a337ba133e3043d85"
	if got := p.Address("c"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	other := p
	other.Namespace = "k8s.io"
	if p.Address("c") == other.Address("c") || p.Address("c") == p.Address("d") {
		t.Error("two shims have one address")
	}
}
