package roundtrip

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/internal/jsonread"
)

func full() *Everything {
	mode, yes, low, word, zone := os.FileMode(0o644), true, int64(math.MinInt64), "w", time.FixedZone("", -3600)
	pointer, moment := &word, time.Date(2026, 2, 3, 4, 5, 6, 7, zone)
	part := inner{Major: -1, Minor: math.MaxUint64}
	return &Everything{
		inner:    inner{Major: math.MinInt64, Minor: 1},
		Untagged: "a\"b\\c\n\t\x01\x7f ü 漢 🦊 \u2028 <&>", Renamed: "r", Hidden: "not written", unexported: 3,
		Bool: true, Flag: true, Int8: -128, Int: math.MaxInt, Number: -32768, Uint16: 65535, Uint64: math.MaxUint64,
		Mode: os.ModeDir | 0o755, ModePtr: &mode, BoolPtr: &yes, IntPtr: &low, PtrPtr: &pointer,
		Time: moment, TimeZero: moment.UTC(), TimePtr: &moment,
		Raw: json.RawMessage(`{"a":[1,"b"]}`), RawNil: json.RawMessage(`7`),
		Strings: []string{"", "a"}, Omitted: []string{"b"}, NilZero: []string{}, Names: names{"n"},
		Lists: [][]int{{1, 2}, {}, nil}, Pointers: []*inner{&part, nil},
		Map: map[string]string{"": "empty", "z": "1", "a\"\n": "2"}, MapOmitted: map[string]string{"a": ""},
		Table: table{"t": -7}, MapOfLists: map[string][]text{"a": {"b"}, "c": nil}, MapOfPtrs: map[string]*inner{"a": &part, "b": nil},
		Struct: part, StructZero: part, StructPtr: &part,
		Mine:   State{ID: "outer", Self: &State{ID: "inner"}},
		Theirs: &specs.State{Version: "1", ID: "i", Status: specs.StateRunning, Pid: 1, Annotations: map[string]string{"k": "v"}},
	}
}

func TestEncodersAndDecodersAgreeWithEncodingJSON(t *testing.T) {
	no, zero := false, int64(0)
	tests := map[string]*Everything{
		"every field set": full(),
		"zero values":     {},
		"empty slices and maps": {
			Strings: []string{}, Omitted: []string{}, NilZero: []string{}, Names: names{}, Map: map[string]string{},
			MapOmitted: map[string]string{}, Lists: [][]int{}, Raw: json.RawMessage{},
		},
		"pointers to zero values":  {BoolPtr: &no, IntPtr: &zero, TimePtr: &time.Time{}, StructPtr: &inner{}, Theirs: &specs.State{}},
		"bytes that are not UTF-8": {Untagged: "a\xff\xc3", Map: map[string]string{"\xff": "\xe2\x82"}},
	}
	for name, v := range tests {
		t.Run(name, func(t *testing.T) {
			theirs, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			ours := appendEverything(nil, v)
			if diff := cmp.Diff(untyped(t, theirs), untyped(t, ours)); diff != "" {
				t.Errorf("encoded: %s", diff)
			}
			want := &Everything{}
			if err := json.Unmarshal(theirs, want); err != nil {
				t.Fatal(err)
			}
			for _, text := range [][]byte{theirs, ours} {
				got := &Everything{}
				r := jsonread.New(text)
				decodeEverything(r, got)
				if err := r.End(""); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(Everything{})); diff != "" {
					t.Errorf("decoded: %s", diff)
				}
			}
		})
	}
}

func untyped(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

func TestOutputIsTheSameEveryTime(t *testing.T) {
	first := string(appendEverything(nil, full()))
	for range 20 {
		if again := string(appendEverything([]byte{}, full())); again != first {
			t.Fatalf("%s\n%s", first, again)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	got := string(appendState([]byte("state: "), &State{ID: "x"}))
	if want := `state: {"id":"x"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestContainerProcessState(t *testing.T) {
	v := &specs.ContainerProcessState{Version: "1.3.0", Fds: []string{specs.SeccompFdName}, Pid: 7, State: specs.State{ID: "c"}}
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(untyped(t, want), untyped(t, appendContainerProcessState(nil, v))); diff != "" {
		t.Error(diff)
	}
}

func TestRawBytesPassThrough(t *testing.T) {
	var v Tagged
	r := jsonread.New([]byte(`{"config": {"a": [1]} }`))
	decodeTagged(r, &v)
	if err := r.End(""); err != nil || string(v.Config) != `{"a": [1]}` {
		t.Fatalf("%s, %v", v.Config, err)
	}
	if got := string(appendTagged(nil, &v)); got != `{"config":{"a": [1]}}` {
		t.Error(got)
	}
}

func TestWrongValuesAreReported(t *testing.T) {
	tests := map[string]string{
		`{"time":"yesterday"}`:        `time: want a time like 2006-01-02T15:04:05Z, got "yesterday"`,
		`{"time":7}`:                  `time: want a string, got a number`,
		`{"lists":[[1],[2,"a"]]}`:     `lists[1][1]: want a number, got a string`,
		`{"pointers":[{"major":[]}]}`: `pointers[0].major: want a number, got an array`,
		`{"int8":128}`:                `int8: want a number from -128 to 127, got 128`,
		`{"mode":4294967296}`:         `mode: want a number from 0 to 4294967295, got 4294967296`,
		`{"re-named":{}}`:             `["re-named"]: want a string, got an object`,
		`{"mapOfLists":{"":[1]}}`:     `mapOfLists[""][0]: want a string, got a number`,
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			r := jsonread.New([]byte(text))
			decodeEverything(r, &Everything{})
			if err := r.End(""); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestRecursiveTypeStopsAtTheDepthLimit(t *testing.T) {
	r := jsonread.New([]byte(`{"mine":` + strings.Repeat(`{"self":`, 1e6)))
	decodeEverything(r, &Everything{})
	if err := r.End(""); err == nil || !strings.Contains(err.Error(), "nested deeper than 1000 levels") {
		t.Error(err)
	}
}

func TestGeneratedCodeIsUpToDate(t *testing.T) {
	source, err := os.ReadFile("types.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "\n//go:generate ")
	line, _, _ := strings.Cut(rest, "\n")
	command := append(strings.Fields(line), "-check")
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
