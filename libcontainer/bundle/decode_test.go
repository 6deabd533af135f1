package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// examples are the files in testdata and those that the specification ships.
func examples(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 15 {
		t.Fatalf("examples missing: %d files, %v", len(files), err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Logf("without the specification's examples: %v", err)
	} else {
		more, err := filepath.Glob(strings.TrimSpace(string(out)) + "/schema/test/config/good/*.json")
		if err != nil || len(more) == 0 {
			t.Fatalf("no examples in the specification: %v", err)
		}
		files = append(files, more...)
	}
	all := map[string][]byte{}
	for _, file := range files {
		if all[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestExamplesDecodeAsWithEncodingJSON(t *testing.T) {
	for name, raw := range examples(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			want, err := viaEncodingJSON(raw)
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(raw)
			got, err := decodeAll(raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if !bytes.Equal(before, raw) {
				t.Error("the input was modified")
			}
			for n := range len(bytes.TrimSpace(raw)) {
				var e *SyntaxError
				if _, _, err := Decode(raw[:n]); !errors.As(err, &e) || !e.Truncated {
					t.Fatalf("cut at %d: %v", n, err)
				}
			}
		})
	}
}

func TestEveryFieldDecodesAsWithEncodingJSON(t *testing.T) {
	want := &specs.Spec{}
	n := 0
	fill(t, reflect.ValueOf(want).Elem(), &n)
	if n < 250 {
		t.Fatalf("only %d values in a full spec", n)
	}
	for _, indent := range []string{"", " "} {
		raw, err := json.MarshalIndent(want, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAll(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// fill gives every field below v a value of its own. Fields for other platforms,
// which are not decoded, stay nil.
func fill(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString("text " + strconv.Itoa(*n) + " <\"\\\n\u2028ü>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-1<<(v.Type().Bits()-1) + int64(*n))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1<<v.Type().Bits() - 1 - uint64(*n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, n)
			fill(t, value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Solaris", "Windows", "VM", "ZOS", "FreeBSD":
			default:
				fill(t, v.Field(i), n)
			}
		}
	default:
		t.Fatalf("a field of type %s: teach fill and jsongen about it", v.Type())
	}
}

func TestSeccompStaysRaw(t *testing.T) {
	const profile = `{ "defaultAction" : [1, "not even the right type"] }`
	tests := map[string]struct{ config, want string }{
		"a profile is a part of the input":       {`{"linux":{"seccomp": ` + profile + ` }}`, profile},
		"an empty object is a profile":           {`{"linux":{"seccomp":{}}}`, `{}`},
		"null is no profile":                     {`{"linux":{"seccomp":null}}`, ""},
		"no linux section is no profile":         {`{}`, ""},
		"the last of two profiles counts":        {`{"linux":{"seccomp":{"a":1},"seccomp":{}}}`, `{}`},
		"a later null takes the profile away":    {`{"linux":{"seccomp":{},"seccomp":null}}`, ""},
		"a later linux takes the profile away":   {`{"linux":{"seccomp":{}},"linux":{}}`, ""},
		"a later null linux takes it away":       {`{"linux":{"seccomp":{}},"linux":null}`, ""},
		"a profile outside linux does not count": {`{"seccomp":{},"process":{"seccomp":{}},"linux":{}}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			raw := []byte(test.config)
			spec, got, err := Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want || (got == nil) != (test.want == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if spec.Linux != nil && spec.Linux.Seccomp != nil {
				t.Error("decoded")
			}
			if got != nil {
				at := uintptr(unsafe.Pointer(&got[0])) - uintptr(unsafe.Pointer(&raw[0]))
				if at >= uintptr(len(raw)) || cap(got) != len(got) {
					t.Error("not a part of the input")
				}
			}
		})
	}
}

func TestDocumentedDifferencesFromEncodingJSON(t *testing.T) {
	tests := map[string]struct {
		config string
		want   specs.Spec
	}{
		"a key in another case is another key":  {`{"Hostname":"a","OCIVERSION":"1"}`, specs.Spec{}},
		"the last of two strings counts":        {`{"hostname":"a","hostname":"b"}`, specs.Spec{Hostname: "b"}},
		"a null after a string clears it":       {`{"hostname":"a","hostname":null}`, specs.Spec{}},
		"the last of two objects counts alone":  {`{"root":{"path":"a"},"root":{"readonly":true}}`, specs.Spec{Root: &specs.Root{Readonly: true}}},
		"the last of two maps counts alone":     {`{"annotations":{"a":"1"},"annotations":{"b":"2"}}`, specs.Spec{Annotations: map[string]string{"b": "2"}}},
		"the last of two equal map keys counts": {`{"annotations":{"a":"1","a":"2"}}`, specs.Spec{Annotations: map[string]string{"a": "2"}}},
		"a null after a map clears it":          {`{"annotations":{"a":"1"},"annotations":null}`, specs.Spec{}},
		"a struct in a map is not merged": {
			`{"linux":{"timeOffsets":{"boottime":{"secs":1},"boottime":{"nanosecs":2}}}}`,
			specs.Spec{Linux: &specs.Linux{TimeOffsets: map[string]specs.LinuxTimeOffset{"boottime": {Nanosecs: 2}}}},
		},
		"a struct in a struct is not merged": {
			`{"process":{"user":{"uid":1},"user":{"gid":2}}}`,
			specs.Spec{Process: &specs.Process{User: specs.User{GID: 2}}},
		},
		"an escaped key is the key that it spells": {`{"host\u006eame":"a"}`, specs.Spec{Hostname: "a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, _, err := Decode([]byte(test.config))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPartsDecodeOnTheirOwn(t *testing.T) {
	process, err := DecodeProcess([]byte(`{"cwd":"/","user":{"uid":7}}`))
	if err != nil || process.Cwd != "/" || process.User.UID != 7 {
		t.Errorf("process: %+v, %v", process, err)
	}
	resources, err := DecodeResources([]byte(`{"pids":{"limit":7}}`))
	if err != nil || *resources.Pids.Limit != 7 {
		t.Errorf("resources: %+v, %v", resources, err)
	}
	seccomp, err := DecodeSeccomp([]byte(`{"defaultAction":"x"}`))
	if err != nil || seccomp.DefaultAction != "x" {
		t.Errorf("seccomp: %+v, %v", seccomp, err)
	}
	_, err = DecodeProcess([]byte(`{"cwd":1}`))
	wantError(t, err, "process.cwd: want a string, got a number")
	_, err = DecodeSeccomp([]byte(`{"syscalls":[{"names":[7]}]}`))
	wantError(t, err, "linux.seccomp.syscalls[0].names[0]: want a string, got a number")
	_, err = DecodeResources([]byte(`7`))
	wantError(t, err, "linux.resources: want an object, got a number")
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
