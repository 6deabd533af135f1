package jsonread

import (
	"strings"
	"testing"
)

func TestReplaceChangesOneValueAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct{ doc, path, value, want string }{
		"a value":               {`{ "a" : {"b": 1 , "c":[2]} }`, "a.b", `{"x":0}`, `{ "a" : {"b": {"x":0} , "c":[2]} }`},
		"the last of two":       {`{"a":1,"a":2}`, "a", "3", `{"a":1,"a":3}`},
		"a missing member":      {`{"z":true}`, "a", "3", `{"a":3,"z":true}`},
		"a missing object":      {`{"z":true}`, "a.b", "3", `{"a":{"b":3},"z":true}`},
		"in an empty object":    {" {\n} ", "a", "3", " {\"a\":3\n} "},
		"null in place of some": {`{"a":null}`, "a.b", "3", `{"a":{"b":3}}`},
		"an escaped key":        {`{"\u0061":1}`, "a", "2", `{"\u0061":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			doc := []byte(c.doc)
			if got := string(Replace(doc, strings.Split(c.path, "."), []byte(c.value))); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if string(doc) != c.doc {
				t.Errorf("the document itself is now %s", doc)
			}
		})
	}
}
