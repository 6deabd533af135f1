package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
)

var plain = cmpopts.IgnoreUnexported(options.Options{})

func runcOptions(t *testing.T, o *options.Options) *known.Any {
	t.Helper()
	data, err := o.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return &known.Any{TypeUrl: OptionsType, Value: data}
}

// generic makes the message of three fields by hand.
func generic(typeURL, path, body string) *known.Any {
	var data []byte
	for i, text := range []string{typeURL, path, body} {
		if text != "" {
			data = append(data, byte(i+1)<<3|2, byte(len(text)))
			data = append(data, text...)
		}
	}
	return &known.Any{TypeUrl: GenericType, Value: data}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gantry.toml")
	text := "# the runtime\nBinaryName = \"/usr/bin/c\\\"run\" # with a quote\r\n\n  Root='/r # \\x'\nSystemdCgroup = true#yes\nIoUid = 7\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	full := &options.Options{BinaryName: "crun", Root: "/r", SystemdCgroup: true, NoPivotRoot: true, IoUid: 3}
	prefixed := runcOptions(t, full)
	prefixed.TypeUrl = "type.googleapis.com/" + prefixed.TypeUrl
	tests := []struct {
		name string
		in   *known.Any
		want *options.Options
	}{
		{"nil", nil, &options.Options{}},
		{"empty", &known.Any{}, &options.Options{}},
		{"runc's, empty", runcOptions(t, &options.Options{}), &options.Options{}},
		{"runc's", runcOptions(t, full), full},
		{"with a prefix", prefixed, full},
		{"a file", generic("", file, ""), &options.Options{BinaryName: `/usr/bin/c"run`, Root: `/r # \x`, SystemdCgroup: true, IoUid: 7}},
		{"the file before the body", generic(OptionsType, file, "Root = 3"), &options.Options{BinaryName: `/usr/bin/c"run`, Root: `/r # \x`, SystemdCgroup: true, IoUid: 7}},
		{"a body", generic("", "", "binaryName = ''\nSystemdCgroup = false\nTypeUrl = \"x\"\nNoPivotRoot = true"), &options.Options{NoPivotRoot: true}},
		{"nothing", generic("", "", ""), &options.Options{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := DecodeOptions(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, plain); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			b := open(t)
			if err := b.SetOptions(test.in); err != nil {
				t.Fatal(err)
			}
			if got, err = b.Options(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, plain); diff != "" {
				t.Errorf("kept: -want +got:\n%s", diff)
			}
		})
	}
}

func TestBadOptions(t *testing.T) {
	tests := []struct {
		name string
		in   *known.Any
		want string
	}{
		{"unknown", &known.Any{TypeUrl: "io.x.Options", Value: []byte{1}}, `"io.x.Options"`},
		{"no type", &known.Any{Value: []byte{1}}, `""`},
		{"broken", &known.Any{TypeUrl: OptionsType, Value: []byte{0x32, 99}}, OptionsType},
		{"generic, broken", &known.Any{TypeUrl: GenericType, Value: []byte{0x0a, 99}}, "cut off"},
		{"generic, varint", &known.Any{TypeUrl: GenericType, Value: []byte{8, 1}}, "not a message"},
		{"no file", generic("", "/nonexistent/x.toml", ""), "config_path: open /nonexistent/x.toml"},
		{"relative file", generic("", "x.toml", ""), "config_path \"x.toml\": want an absolute path"},
		{"unknown key", generic("", "", "\nSystemdCgroups = true"), "config_body: line 2: SystemdCgroups: there is no such option"},
		{"table", generic("", "", "[options]"), `line 1: want KEY = VALUE, got "[options]"`},
		{"no string", generic("", "", "Root = 3"), "Root: want a string, got 3"},
		{"open string", generic("", "", `Root = "x`), "Root: want a string"},
		{"more", generic("", "", `Root = "x" y`), "after the string"},
		{"no bool", generic("", "", "SystemdCgroup = 1"), "want true or false"},
		{"no number", generic("", "", "IoUid = -1"), "want a number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := DecodeOptions(test.in)
			var typed *OptionsError
			if !errors.As(err, &typed) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
	b := open(t)
	if o, err := b.Options(); err != nil || o.GetRoot() != "" {
		t.Errorf("none kept: %v %v", o, err)
	}
	b.put(t, "options", "\x32\x99")
	if _, err := b.Options(); err == nil || !strings.Contains(err.Error(), "options") {
		t.Errorf("broken: %v", err)
	}
}

func FuzzOptions(f *testing.F) {
	f.Add(GenericType, []byte("\x1a\x08Root='x'"))
	f.Add(OptionsType, []byte{0x32, 1, 'x'})
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if _, err := DecodeOptions(&known.Any{TypeUrl: name, Value: data}); err != nil {
			if _, ok := errors.AsType[*OptionsError](err); !ok {
				t.Error(err)
			}
		}
	})
}
