package jsonread

import (
	"encoding/json"
	"reflect"
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

// FuzzReplace holds it to encoding/json: the value is where it belongs, and nothing else moved.
func FuzzReplace(f *testing.F) {
	for _, doc := range []string{`{}`, `{"a":{"b":1,"c":[{}]},"d":"\u0061"}`, `{"a":1,"a":{"b":2}}`, ` { "a" : null } `, `{"\u0061":{}}`, `[]`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		r := New(doc)
		if r.Skip(); r.End("") != nil {
			return
		}
		var before, after, want any
		if json.Unmarshal(doc, &before) != nil {
			return
		}
		got := Replace(doc, []string{"a", "b"}, []byte(`[7]`))
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", doc, got, err)
		}
		object, ok := before.(map[string]any)
		if !ok {
			object = map[string]any{}
		}
		inner, ok := object["a"].(map[string]any)
		if !ok {
			inner = map[string]any{}
		}
		inner["b"] = []any{7.0}
		object["a"] = inner
		if want = object; !reflect.DeepEqual(want, after) {
			t.Errorf("%q became %q", doc, got)
		}
	})
}
