package main

import (
	"encoding/json"
	"testing"
)

func TestAppendText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a word is bare", "error", "error"},
		{"all bare characters", "aZ09-._/@^+", "aZ09-._/@^+"},
		{"nothing is nothing", "", ""},
		{"a space", "a b", `"a b"`},
		{"an equals sign", "a=b", `"a=b"`},
		{"quotes and backslashes", `exec: "x\"`, `"exec: \"x\\\""`},
		{"a newline stays on the line", "a\nb", `"a\nb"`},
		{"letters of other alphabets", "größe", `"größe"`},
		{"a terminal's escape", "\x1b[31m", `"\x1b[31m"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(appendText(nil, c.in)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func FuzzAppendJSONIsWhatEncodingJSONWrites(f *testing.F) {
	for _, s := range []string{
		"", "plain", "\"\\/", "\x00\x01\b\f\n\r\t\x1f\x7f", "<a>&", "größe €", "\u2028\u2029\u202a", "\xff\xfe a \xc3", "\U0001f600", "\ufffd",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendJSON(nil, s)); got != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
