package progress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/jsonstream"
)

func TestLines(t *testing.T) {
	for _, c := range []struct {
		write func(*Writer)
		want  string
	}{
		{func(w *Writer) { w.Message("v1", "Pulling from a/b") }, `{"status":"Pulling from a/b","id":"v1"}`},
		{func(w *Writer) { w.Message("", "Digest: sha256:0") }, `{"status":"Digest: sha256:0"}`},
		{func(w *Writer) { w.Status("0123", "Waiting") }, `{"status":"Waiting","progressDetail":{},"id":"0123"}`},
		{func(w *Writer) { w.Done("0123", "Pull complete") }, `{"status":"Pull complete","progressDetail":{"hidecounts":true},"id":"0123"}`},
		{func(w *Writer) { w.Bytes("0123", "Downloading", 1, 2) }, `{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"0123"}`},
		{func(w *Writer) { w.Bytes("", "Importing", 1, 0) }, `{"status":"Importing","progressDetail":{"current":1}}`},
		{func(w *Writer) { w.Elapsed("0123", "Extracting", 0) }, `{"status":"Extracting","progressDetail":{"current":1,"units":"s"},"id":"0123"}`},
		{func(w *Writer) { w.Elapsed("0123", "Extracting", 3*time.Second) }, `{"status":"Extracting","progressDetail":{"current":4,"units":"s"},"id":"0123"}`},
		{func(w *Writer) { w.Stream("Step 1/2 : FROM <x>\n") }, `{"stream":"Step 1/2 : FROM \u003cx\u003e\n"}`},
		{func(w *Writer) { w.Aux(map[string]int{"Size": 1}) }, `{"progressDetail":{},"aux":{"Size":1}}`},
		{func(w *Writer) { w.AuxOf("moby.image.id", map[string]string{"ID": "x"}) }, `{"id":"moby.image.id","aux":{"ID":"x"}}`},
		{func(w *Writer) { w.Error(errors.New("no")) }, `{"error":"no","errorDetail":{"message":"no"}}`},
		{
			func(w *Writer) { w.Error(fmt.Errorf("build: %w", &jsonstream.Error{Code: 3, Message: "returned 3"})) },
			`{"error":"returned 3","errorDetail":{"code":3,"message":"returned 3"}}`,
		},
	} {
		var b bytes.Buffer
		w := NewWriter(&b)
		c.write(w)
		if d := cmp.Diff(c.want+"\r\n", b.String()); d != "" || w.Err() != nil {
			t.Error(d, w.Err())
		}
	}
}

// A thing's bytes are told ten times a second, each step's for itself.
func TestRarely(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	now := time.Unix(0, 0)
	w.now = func() time.Time { return now }
	for i := range 100 { // a second
		w.Bytes("a", "Downloading", int64(i), 100)
		w.Bytes("b", "Downloading", int64(i), 100)
		now = now.Add(10 * time.Millisecond)
	}
	w.Bytes("a", "Extracting", 1, 100)
	if n := strings.Count(b.String(), "\n"); n != 21 {
		t.Errorf("%d lines", n)
	}
}

// Goroutines do not cut into each other's lines.
func TestTogether(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				w.Status(fmt.Sprint(i), "Waiting")
			}
		})
	}
	all.Wait()
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, `{"status":"Waiting","progressDetail":{},"id":"`) || !strings.HasSuffix(line, "\"}\r\n") {
			t.Fatalf("%q", line)
		}
	}
}

type gone struct{ writes int }

func (g *gone) Write([]byte) (int, error) {
	g.writes++
	return 0, errors.New("gone")
}

// A client that has gone is written to no more.
func TestGone(t *testing.T) {
	g := &gone{}
	w := NewWriter(g)
	w.Status("a", "Waiting")
	w.Error(errors.New("no"))
	if g.writes != 1 || w.Err() == nil {
		t.Error(g.writes, w.Err())
	}
	w = NewWriter(&bytes.Buffer{})
	w.Aux(func() {})
	if w.Err() == nil {
		t.Error("a value that is no JSON was written")
	}
}
