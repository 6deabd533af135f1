package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var errNull = errors.New("document is null")

// viaEncodingJSON decodes as Decode is documented to, with encoding/json: sections
// of other platforms become empty structs, a null document is refused.
func viaEncodingJSON(raw []byte) (*specs.Spec, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, err
	}
	if top == nil {
		return nil, errNull
	}
	platforms := &specs.Spec{}
	var other map[string]json.RawMessage
	for key, found := range map[string]func(){
		"solaris": func() { platforms.Solaris = &specs.Solaris{} },
		"windows": func() { platforms.Windows = &specs.Windows{} },
		"vm":      func() { platforms.VM = &specs.VM{} },
		"zos":     func() { platforms.ZOS = &specs.ZOS{} },
		"freebsd": func() { platforms.FreeBSD = &specs.FreeBSD{} },
	} {
		if section, ok := top[key]; ok {
			other = nil
			if err := json.Unmarshal(section, &other); err != nil {
				return nil, err
			}
			if other != nil {
				found()
			}
			delete(top, key)
		}
	}
	rest, err := json.Marshal(top)
	if err != nil {
		return nil, err
	}
	spec := platforms
	return spec, json.Unmarshal(rest, spec)
}

// differs reports whether a valid document uses what Decode treats differently
// from encoding/json by design: two keys that are the same or differ in case only,
// a field's name in another case, NUL characters, deep nesting.
func differs(raw []byte) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var open []map[string]bool // keys so far; nil for an array
	isKey := false
	for {
		token, err := d.Token()
		if err == io.EOF {
			return false
		}
		if err != nil {
			return true
		}
		if s, ok := token.(string); ok && strings.ContainsRune(s, 0) {
			return true
		}
		if s, ok := token.(string); ok && isKey {
			keys := open[len(open)-1]
			if folded := strings.ToLower(strings.ToUpper(s)); keys[folded] || misspelt(s) {
				return true
			}
			keys[strings.ToLower(strings.ToUpper(s))] = true
			isKey = false
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 900 {
			return true
		}
		isKey = len(open) > 0 && open[len(open)-1] != nil
	}
}

// misspelt reports whether key is the name of a field but for its case.
func misspelt(key string) bool {
	for _, name := range fieldNames() {
		if name != key && strings.EqualFold(name, key) {
			return true
		}
	}
	return false
}

var fieldNames = sync.OnceValue(func() (names []string) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for f := range t.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				names = append(names, name)
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[specs.Spec]())
	return names
})

// decodeAll is Decode with the seccomp profile decoded too.
func decodeAll(raw []byte) (*specs.Spec, error) {
	spec, seccomp, err := Decode(raw)
	if err != nil || seccomp == nil {
		return spec, err
	}
	spec.Linux.Seccomp, err = DecodeSeccomp(seccomp)
	return spec, err
}
