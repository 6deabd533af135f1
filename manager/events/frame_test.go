package events

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
)

func testRecord(sequence uint64, topic string, value []byte) Record {
	return Record{Sequence: sequence, Envelope: &events.Envelope{
		Timestamp: time.Unix(1700000000, 123456789).UTC(),
		Namespace: "default",
		Topic:     topic,
		Event:     &anypb.Any{TypeUrl: "containerd.events.TaskExit", Value: value},
	}}
}

func mustFrame(t testing.TB, r Record) []byte {
	t.Helper()
	b, err := appendFrame(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrameGoesThereAndBack(t *testing.T) {
	early := testRecord(7, "/tasks/exit", []byte("x"))
	early.Timestamp = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)
	plain := testRecord(8, "/tasks/exit", nil)
	plain.Event = nil
	for name, r := range map[string]Record{
		"usual":        testRecord(1, "/tasks/exit", []byte("value")),
		"empty value":  testRecord(1<<63, "/a", nil),
		"large value":  testRecord(2, "/a", make([]byte, maxBody-1000)),
		"before 1970":  early,
		"without Any":  plain,
		"long strings": testRecord(3, "/"+strings.Repeat("é", 1000), []byte{0, 255}),
	} {
		t.Run(name, func(t *testing.T) {
			b := mustFrame(t, r)
			got, n, err := decodeFrame(append(b, "what follows"...))
			if err != nil || n != len(b) {
				t.Fatalf("decodeFrame: size %d, error %v; want %d", n, err, len(b))
			}
			if r.Event == nil {
				r.Event = &anypb.Any{}
			}
			if !bytes.Equal(r.Event.GetValue(), got.Event.GetValue()) {
				t.Error("another value")
			}
			got.Event = &anypb.Any{TypeUrl: got.Event.GetTypeUrl()} // cmp is slow with megabytes
			r.Event = &anypb.Any{TypeUrl: r.Event.GetTypeUrl()}
			if d := cmp.Diff(r, got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFrameRefuses(t *testing.T) {
	typed := testRecord(1, "/a", nil)
	typed.Event = &anypb.Any{TypeUrl: "\xff"}
	for name, r := range map[string]Record{
		"too large":         testRecord(1, "/a", make([]byte, maxBody)),
		"type is not UTF-8": typed,
	} {
		if _, err := appendFrame(nil, r); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v, want invalid argument", name, err)
		}
	}
}

// Whatever byte the writer died at: the records before it are read, and the rest is known to be none.
func TestScanOfTornTail(t *testing.T) {
	two := append(mustFrame(t, testRecord(5, "/a", []byte("one"))), mustFrame(t, testRecord(6, "/b", []byte("two")))...)
	third := mustFrame(t, testRecord(7, "/c", []byte("three")))
	for n := range len(third) + 1 {
		count, size, bad := scan(append(slices.Clip(two), third[:n]...), 5)
		wantCount, wantSize, wantBad := uint64(2), len(two), errTorn
		switch n {
		case 0:
			wantBad = nil
		case len(third):
			wantCount, wantSize, wantBad = 3, len(two)+len(third), nil
		}
		if count != wantCount || size != int64(wantSize) || !errors.Is(bad, wantBad) {
			t.Errorf("%d bytes of the third: %d records, %d bytes, %v; want %d, %d, %v", n, count, size, bad, wantCount, wantSize, wantBad)
		}
	}
}

func TestScanOfGarbage(t *testing.T) {
	good := mustFrame(t, testRecord(1, "/a", []byte("one")))
	second := mustFrame(t, testRecord(2, "/a", []byte("two")))
	for name, tail := range map[string][]byte{
		"zeros":          make([]byte, 4096),
		"ones":           []byte(strings.Repeat("\xff", 100)),
		"text":           []byte(strings.Repeat("hello, world", 10)),
		"wrong number":   mustFrame(t, testRecord(3, "/a", nil)),
		"repeated":       good,
		"huge length":    {0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 1},
		"hole in middle": append(append(append([]byte(nil), second[:20]...), make([]byte, 10)...), second[30:]...),
	} {
		count, size, bad := scan(append(slices.Clip(good), tail...), 1)
		if count != 1 || size != int64(len(good)) || !errors.Is(bad, errGarbage) {
			t.Errorf("%s: %d records, %d bytes, %v; want 1, %d, garbage", name, count, size, bad, len(good))
		}
	}
	for i := range len(second) * 8 { // each bit flipped
		broken := append([]byte(nil), second...)
		broken[i/8] ^= 1 << (i % 8)
		if count, _, bad := scan(append(slices.Clip(good), broken...), 1); count != 1 || bad == nil {
			t.Errorf("bit %d flipped: %d records, %v; want 1 and an error", i, count, bad)
		}
	}
}

func FuzzScan(f *testing.F) {
	two := append(mustFrame(f, testRecord(1, "/a", []byte("one"))), mustFrame(f, testRecord(2, "/b", nil))...)
	f.Add(two)
	f.Add(two[:len(two)-3])
	f.Add(append(slices.Clip(two), make([]byte, 64)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		count, size, bad := scan(data, 1)
		if size < 0 || size > int64(len(data)) || (bad == nil) != (size == int64(len(data))) {
			t.Fatalf("%d records in %d of %d bytes, %v", count, size, len(data), bad)
		}
		var again []byte
		for rest := data[:size]; len(rest) > 0; {
			r, n, err := decodeFrame(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if again, err = appendFrame(again, r); err != nil && !errdefs.IsInvalidArgument(err) {
				t.Fatal(err)
			}
		}
		if n, s, bad := scan(data[:size], 1); n != count || s != size || bad != nil {
			t.Fatalf("what was found whole is not: %d records, %d bytes, %v; before %d, %d", n, s, bad, count, size)
		}
	})
}
