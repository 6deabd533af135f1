package gvariant

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Value{
		"true":                         Bool(true),
		" false ":                      Bool(false),
		"5":                            {Type: "i", Bits: 5},
		"-5":                           {Type: "i", Bits: math.MaxUint64 - 4},
		"+5":                           {Type: "i", Bits: 5},
		"0x10":                         {Type: "i", Bits: 16},
		"010":                          {Type: "i", Bits: 8},
		"1.5":                          {Type: "d", Bits: math.Float64bits(1.5)},
		"1e3":                          {Type: "d", Bits: math.Float64bits(1000)},
		"double 2":                     {Type: "d", Bits: math.Float64bits(2)},
		"uint64 123456789":             Uint64(123456789),
		"uint64 0xffffffffffffffff":    Uint64(math.MaxUint64),
		"uint32 7":                     Uint32(7),
		"byte 255":                     {Type: "y", Bits: 255},
		"@t 9":                         Uint64(9),
		"'inactive-or-failed'":         String("inactive-or-failed"),
		`"it's"`:                       String("it's"),
		`'a\'b\\\n\u00e4\U0001F600\x'`: String("a'b\\\nä😀x"),
		"objectpath '/a/b_1'":          {Type: "o", Text: "/a/b_1"},
		"signature 'a{sv}'":            {Type: "g", Text: "a{sv}"},
		"['a', 'b']":                   Strings("a", "b"),
		"@as []":                       Array("s"),
		"[1, uint64 2]":                Array("t", Uint64(1), Uint64(2)),
		"[1, 2.5]":                     Array("d", Value{Type: "d", Bits: math.Float64bits(1)}, Value{Type: "d", Bits: math.Float64bits(2.5)}),
		"b'hi'":                        Bytes([]byte("hi\x00")),
		"<'x'>":                        Variant(String("x")),
		"('a', uint64 1)":              Struct(String("a"), Uint64(1)),
		"(true,)":                      Struct(Bool(true)),
		"[('/dev/null', 'rwm')]":       Array("(ss)", Struct(String("/dev/null"), String("rwm"))),
		"@a(st) []":                    Array("(st)"),
		"@a(st) [('a', 1)]":            Array("(st)", Struct(String("a"), Uint64(1))),
		"{'k': <uint32 1>}": {Type: "a{sv}", Items: []Value{{Type: "{sv}", Items: []Value{
			String("k"), Variant(Uint32(1)),
		}}}},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		again, err := Parse(got.String())
		if diff := cmp.Diff(got, again); diff != "" || err != nil {
			t.Errorf("%s prints as %s, which reads as (-want +got, %v):\n%s", text, got, err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                                     "ends too early",
		"  ":                                   "ends too early",
		"hello":                                "neither a value nor a type",
		"uint64":                               "ends too early",
		"uint64 -1":                            `no value of type "t"`,
		"byte 256":                             `no value of type "y"`,
		"5000000000":                           `no value of type "i"`,
		"1_000":                                `no value of type "i"`,
		"5 6":                                  "after the value",
		"5x":                                   `no value of type "i"`,
		"uint64 'a'":                           `no value of type "t"`,
		"string 5":                             `no value of type "s"`,
		"uint64 uint32 5":                      "a second type",
		"'open":                                "ends too early",
		`'\u12'`:                               "ends too early",
		`'\ud800'`:                             "not a character",
		`'\u0000'`:                             `no value of type "s"`,
		"'\xff'":                               "not UTF-8",
		"[]":                                   "needs a type",
		"[1, 'a']":                             `no value of type "i"`,
		"[1 2]":                                "expected",
		"[1":                                   "expected",
		"()":                                   "0 values",
		"<1, 2>":                               "2 values",
		"{'a' 1}":                              ": expected",
		"{'a': }":                              "neither a value nor a type",
		"@zz 5":                                "not a D-Bus type",
		"@ii 5":                                "more than one type",
		"@a{vs} {}":                            "not a D-Bus type",
		"@(i) (1, 2)":                          `no value of type "(i)"`,
		"objectpath 'a'":                       `no value of type "o"`,
		"objectpath '/a//b'":                   `no value of type "o"`,
		"objectpath '/a/'":                     `no value of type "o"`,
		"signature 'a'":                        `no value of type "g"`,
		"double 1.2.3":                         `no value of type "d"`,
		strings.Repeat("<", 99):                "nested too deeply",
		"@" + strings.Repeat("a", 99) + "s []": "nested too deeply",
	} {
		if v, err := Parse(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, %v, want an error with %q", text, v, err, why)
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]uint64{
		"5": 5e6, "uint64 5": 5e6, "byte 1": 1e6, "1.5": 15e5, "int64 7": 7e6,
	} {
		v, err := Parse(text)
		if got, ok := v.Seconds(); got != want || !ok || err != nil {
			t.Errorf("%s is %d µs, %v, %v", text, got, ok, err)
		}
	}
	for _, text := range []string{"'5'", "true", "-1", "-1.5", "uint64 0xffffffffffffffff", "double nan", "1e300"} {
		v, err := Parse(text)
		if got, ok := v.Seconds(); ok && err == nil {
			t.Errorf("%s is %d µs", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"uint64 5", "['a', b'c']", "{'a': <(1, true)>}", `"\u00e4"`, "@a(st) []"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(v.String())
		if err != nil {
			t.Fatalf("%q prints as %q: %v", text, v, err)
		}
		if v.String() != again.String() {
			t.Fatalf("%q prints as %q and then as %q", text, v, again)
		}
	})
}
