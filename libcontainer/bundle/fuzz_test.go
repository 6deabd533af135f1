package bundle

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecode compares Decode with encoding/json: what is accepted, and the result.
func FuzzDecode(f *testing.F) {
	for _, raw := range examples(f) {
		f.Add(raw)
	}
	f.Add([]byte(`{"process":{"oomScoreAdj":-0,"user":{"uid":-0,"gid":1e2}},"hostname":"\ud83e\udd8a\ud83e\u0041\\u\/","mounts":[null]}`))
	f.Add([]byte("{\"annotations\":{\"\xff\":\"\xc3\x28\xe2\x82\"}}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := string(raw)
		got, err := decodeAll(raw)
		if string(raw) != text {
			t.Fatal("the input was modified")
		}
		var syntax *SyntaxError
		isSyntax := errors.As(err, &syntax)
		if !json.Valid(raw) {
			if !isSyntax {
				t.Fatalf("not JSON, but %v", err)
			}
			return
		}
		if differs(raw) {
			return
		}
		want, wantErr := viaEncodingJSON(raw)
		if isSyntax || (err == nil) != (wantErr == nil) {
			t.Fatalf("got  %v\nwant %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
