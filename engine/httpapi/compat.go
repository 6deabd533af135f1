package httpapi

import (
	"bytes"
	"encoding/json"
)

// Merge is the JSON of a value with further fields, for what older API versions had. A field that is there already and
// not null stays as it is; objects are merged.
func Merge(v any, extra map[string]any) (json.RawMessage, error) {
	base, err := plainJSON(v)
	if err != nil || len(extra) == 0 {
		return base, err
	}
	fields := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(base))
	dec.UseNumber() // Sizes beyond 2⁵³ stay what they are.
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	merge(fields, extra)
	return plainJSON(fields)
}

func merge(to, from map[string]any) {
	for key, v := range from {
		inner, isObject := v.(map[string]any)
		if old, ok := to[key].(map[string]any); ok && isObject {
			merge(old, inner)
			continue
		}
		if to[key] == nil {
			to[key] = v
		}
	}
}

// plainJSON leaves <, > and & as they are.
func plainJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
