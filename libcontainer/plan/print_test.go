package plan

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func examplePlan() *Plan {
	return &Plan{Ops: []Op{
		{Actor: Runtime, Field: "linux.namespaces", Do: &Clone{New: []string{"pid"}}},
		{Actor: Child, Field: "process.args", Do: &Execute{Args: []string{"sh", "-c"}, Env: []string{"TOKEN=secret=x", "BARE"}}},
	}}
}

func TestRedactHidesValuesOnly(t *testing.T) {
	p := examplePlan()
	original := p.Ops[1].Do.(*Execute)
	p.Redact()
	if diff := cmp.Diff([]string{"TOKEN=***", "BARE=***"}, p.Ops[1].Do.(*Execute).Env); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if original.Env[0] != "TOKEN=secret=x" {
		t.Error("what will be executed has lost its environment")
	}
}

func TestWriteText(t *testing.T) {
	var b bytes.Buffer
	if err := examplePlan().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	const want = `  1  runtime  clone a child with new namespaces pid  [linux.namespaces]
  2  child    execute sh -c  [process.args]
                env TOKEN=secret=x
                env BARE
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWriteJSON(t *testing.T) {
	var b bytes.Buffer
	if err := examplePlan().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{
			"actor": "runtime", "field": "linux.namespaces", "op": "Clone", "text": "clone a child with new namespaces pid",
			"args": map[string]any{"New": []any{"pid"}, "IntoCgroup": false, "MayFail": false},
		},
		{
			"actor": "child", "field": "process.args", "op": "Execute", "text": "execute sh -c",
			"args": map[string]any{"Args": []any{"sh", "-c"}, "Env": []any{"TOKEN=secret=x", "BARE"}, "FindHome": false},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
