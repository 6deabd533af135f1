package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
)

func runtimeInfo(t *testing.T, options *known.Any) *types.RuntimeInfo {
	t.Helper()
	data, err := options.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := info(bytes.NewReader(data), &out); err != nil {
		t.Fatal(err)
	}
	answer := &types.RuntimeInfo{}
	if err := answer.UnmarshalVT(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	return answer
}

// A runtime that is older than the features command has none, and that is no error.
func TestInfoWithoutFeatures(t *testing.T) {
	runtime := filepath.Join(t.TempDir(), "youki")
	if err := os.WriteFile(runtime, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	answer := runtimeInfo(t, &known.Any{TypeUrl: "runtimeoptions.v1.Options", Value: body("BinaryName = '" + runtime + "'")})
	if answer.Features != nil || answer.Name != runtimeName {
		t.Errorf("%+v", answer)
	}
}

func body(text string) []byte { return append([]byte{3<<3 | 2, byte(len(text))}, text...) }

func TestInfoRefuses(t *testing.T) {
	tests := []struct {
		name    string
		options *known.Any
		want    string
	}{
		{"no runtime", &known.Any{TypeUrl: "runtimeoptions.v1.Options", Value: body("BinaryName = '/no/crun'")}, "/no/crun"},
		{"unknown options", &known.Any{TypeUrl: "io.x.Y", Value: []byte{1}}, `"io.x.Y"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data, err := test.options.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := info(bytes.NewReader(data), &out); err == nil || !strings.Contains(err.Error(), test.want) || out.Len() != 0 {
				t.Errorf("%v, and on stdout %q", err, out.Bytes())
			}
		})
	}
	if err := info(strings.NewReader("garbage"), &bytes.Buffer{}); err == nil || !strings.HasPrefix(err.Error(), "stdin: ") {
		t.Errorf("garbage: %v", err)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := printVersion(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{":\n  Version:  " + version + "\n", "\n  Revision: " + commit + "\n", "\n  Go version: go1."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		line string
		want flags
		fail string
	}{
		{"-namespace n -address /a -publish-binary /c -id i start", flags{namespace: "n", address: "/a", publisher: "/c", id: "i", action: "start"}, ""},
		{"-namespace n -id i -bundle /b -debug delete", flags{namespace: "n", id: "i", bundle: "/b", debug: true, action: "delete"}, ""},
		{"--namespace=n --id=i --debug=false --socket /s", flags{namespace: "n", id: "i", socket: "/s"}, ""},
		{"-v", flags{version: true}, ""},
		{"-version", flags{version: true}, ""},
		{"-info", flags{info: true}, ""},
		{"-new value -id i start", flags{id: "i", action: "start"}, ""},
		{"-new -id i start", flags{id: "i", action: "start"}, ""},
		{"-id i -new start", flags{id: "i", action: "start"}, ""},
		{"-id i -new=3 start more", flags{id: "i", action: "start"}, ""},
		{"-namespace n -id", flags{}, "-id: its value is missing"},
		{"-debug=maybe", flags{}, `-debug: "maybe" is not true or false`},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			got, err := parse(strings.Fields(test.line))
			if test.fail != "" {
				if err == nil || err.Error() != test.fail {
					t.Errorf("error %v, want %s", err, test.fail)
				}
				return
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(flags{})); err != nil || diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"start":                      "-namespace: it may not be empty",
		"-namespace n start":         "-id: it may not be empty",
		"-namespace n -id i restart": `unknown action "restart"`,
	} {
		if err := run(strings.Fields(line)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}
