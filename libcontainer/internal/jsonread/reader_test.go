package jsonread

import (
	"encoding/json"
	"errors"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func TestStringsDecodeAsWithEncodingJSON(t *testing.T) {
	tests := map[string]string{
		"empty":                              `""`,
		"plain":                              `"plain"`,
		"white space around it":              " \t\r\n\"a\" ",
		"characters beyond ASCII":            `"ü → 漢 🦊"`,
		"every short escape":                 `"\"\\\/\b\f\n\r\t"`,
		"escaped characters":                 `"\u00e9\u6f22\u0041"`,
		"hexadecimal digits of both cases":   `"\u00Ef\u00eF"`,
		"a surrogate pair":                   `"\ud83e\uDD8A"`,
		"half a pair":                        `"\ud83e"`,
		"half a pair and text":               `"\ud83eabcdefgh"`,
		"half a pair and another escape":     `"\ud83e\n"`,
		"half a pair and a character escape": `"\ud83e\u0041"`,
		"a pair in the wrong order":          `"\udd8a\ud83e"`,
		"two first halves":                   `"\ud83e\ud83e\udd8a"`,
		"an escaped backslash before a u":    `"\\u0041"`,
		"a byte that is not UTF-8":           "\"a\xffb\"",
		"a cut UTF-8 sequence":               "\"\xe2\x82\"",
		"an overlong UTF-8 sequence":         "\"\xc0\xaf\"",
		"a surrogate in UTF-8":               "\"\xed\xa0\x80\"",
		"both an escape and bad UTF-8":       "\"\\n\xff\"",
		"a delete character":                 "\"\x7f\"",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			var want, got string
			if err := json.Unmarshal([]byte(text), &want); err != nil {
				t.Fatal(err)
			}
			r := New([]byte(text))
			String(r, &got)
			if err := r.End(""); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestOnlyRewrittenStringsAreCopied(t *testing.T) {
	tests := map[string]bool{`"plain"`: true, `"ü"`: true, `"\n"`: false, "\"\xff\"": false}
	for text, alias := range tests {
		data := []byte(text)
		var s string
		String(New(data), &s)
		if got := unsafe.StringData(s) == &data[1]; got != alias {
			t.Errorf("%s: shares memory %t, want %t", text, got, alias)
		}
	}
}

func TestNumbersDecodeAsWithEncodingJSON(t *testing.T) {
	for _, text := range []string{
		"0", "-0", "7", "-7", "127", "128", "-128", "-129", "255", "256", "9223372036854775807", "18446744073709551616",
		"1.0", "1e0", "0.5", "-1E+2", "01", "-", "1.", ".5", "1e", "1e+", "+1", "0x1", "1_0", "--1", "Infinity", "NaN", `"1"`, "null", "true", "",
	} {
		t.Run(text, func(t *testing.T) {
			checkNumber(t, text, Int[int8])
			checkNumber(t, text, Int[int])
			checkNumber(t, text, Uint[uint8])
			checkNumber(t, text, Uint[uint64])
		})
	}
}

func checkNumber[T comparable](t *testing.T, text string, read func(*Reader, *T)) {
	t.Helper()
	var want, got T
	wantErr := json.Unmarshal([]byte(text), &want)
	r := New([]byte(text))
	read(r, &got)
	if err := r.End(""); (err == nil) != (wantErr == nil) || err == nil && got != want {
		t.Errorf("%T: got %v, %v, want %v, %v", got, got, err, want, wantErr)
	}
}

func TestSkipAcceptsWhatIsJSON(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, ` { "a" : [ 1 , { } , [ ] , "\u00e9" , true , false , null , -1.5e-3 ] , "b" : { "c" : "" } } `, `1`, `"\ud83e"`, "\"\xff\"",
		`{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{1:1}`, `[,]`, `[1,]`, `[1 2]`, `{"a":1]`, `[1}`, `]`, `tru`, `truex`, `nulll`, `fals`,
		`"`, `"\`, `"\u`, `"\u123`, `"\x"`, "\"\x1f\"", "\"\x00\"", `1 2`, `{} {}`, "\v1", "\u00a01", `'a'`, "[\x00]", "1\x00",
	} {
		t.Run(text, func(t *testing.T) {
			r := New([]byte(text))
			r.Skip()
			var e *SyntaxError
			err := r.End("")
			if got, want := err == nil, json.Valid([]byte(text)); got != want || err != nil && !errors.As(err, &e) {
				t.Errorf("valid %t, want %t: %v", got, want, err)
			}
		})
	}
}

func TestEmptyIsNotNull(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"an empty array is an empty slice": {`[]`, []string{}},
		"null is the nil slice":            {`null`, nil},
		"a null element is empty":          {`[null,"a"]`, []string{"", "a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := []string{"before"}
			r := New([]byte(test.text))
			Slice(r, &got, String)
			if diff := cmp.Diff(test.want, got); diff != "" || r.End("") != nil {
				t.Error(diff, r.End(""))
			}
		})
	}
}

func TestAfterASyntaxErrorNothingIsRead(t *testing.T) {
	r := New([]byte(`[x,"a",{"b":1}]`))
	var s string
	var m map[string]string
	r.Array()
	r.Skip()
	r.Element()
	String(r, &s)
	Map(r, &m, String)
	if _, ok := r.Object(); ok || s != "" || len(m) != 0 || r.Element() {
		t.Error("still reading")
	}
	var e *SyntaxError
	if err := r.End(""); !errors.As(err, &e) || e.Offset != 1 || e.Column != 2 {
		t.Error(err)
	}
}

func TestColumnsCountCharacters(t *testing.T) {
	r := New([]byte("[\n\"üü\" x"))
	r.Skip()
	var e *SyntaxError
	if err := r.End(""); !errors.As(err, &e) || e.Line != 2 || e.Column != 6 || e.Offset != 9 {
		t.Errorf("%+v", e)
	}
}

func TestPathsOfOddKeys(t *testing.T) {
	long := "k23456789012345678901234567890123456789012345678901234567890123456789"
	tests := map[string]string{
		`{"a":{"b_1":1}}`:     "p.a.b_1",
		`{"a.b":1}`:           `p["a.b"]`,
		`{"":1}`:              `p[""]`,
		`{"\"\n":1}`:          `p["\"\n"]`,
		`{"` + long + `":1}`:  `p["` + long[:64] + `…"]`,
		`{"x":{},"y":[[],1]}`: `p.y[1]`,
	}
	for text, want := range tests {
		data := []byte(text)
		at := 0
		for i, c := range data {
			if c == '1' && data[i-1] != '_' && data[i-1] != '0' && (data[i-1] == ':' || data[i-1] == ',') {
				at = i
			}
		}
		got := locate(data, []problem{{at, "wrong"}}, "p")
		if len(got) != 1 || got[0].Path != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "ü\u2028🦊", "\xff\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		theirs, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got, want string
		if err := json.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(AppendString(nil, &s), &got); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
}
