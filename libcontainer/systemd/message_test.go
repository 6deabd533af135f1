package systemd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
)

// values parses texts of the GVariant format.
func values(t testing.TB, texts ...string) (list []gvariant.Value) {
	t.Helper()
	for _, text := range texts {
		v, err := gvariant.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		list = append(list, v)
	}
	return list
}

func TestMessagesSurviveTheWire(t *testing.T) {
	m := &message{
		kind: methodCall, serial: 7, replyTo: 3, path: "/a/b", iface: "c.d", member: "E", errorName: "f.g", destination: "h.i",
		body: values(t,
			"'text'", "true", "byte 1", "int16 -2", "uint16 3", "-4", "uint32 5", "int64 -6", "uint64 7", "double 8.5",
			"objectpath '/x'", "signature 'a{sv}'", "['a', 'bc']", "@a(st) []", "b'raw'", "<<uint64 9>>",
			"{'k': <true>, 'l': <['m']>}", "(byte 1, uint64 2, 'three')", "[(byte 1, (uint64 2,))]", "@at []", "uint32 10",
		),
	}
	b := m.encode()
	if total, err := length(b[:fixedHeader]); total != len(b) || err != nil {
		t.Errorf("%d bytes have length %d, %v", len(b), total, err)
	}
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	m.destination = "" // which the receiver need not know
	if diff := cmp.Diff(m, got, cmp.AllowUnexported(message{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestEncodingIsThatOfTheSpecification holds the encoder to a message written by hand.
func TestEncodingIsThatOfTheSpecification(t *testing.T) {
	m := &message{kind: methodCall, serial: 1, path: "/p", member: "M", body: values(t, "byte 5", "uint64 6", "'s'")}
	want := "l\x01\x00\x01" + "\x16\x00\x00\x00" + "\x01\x00\x00\x00" + "\x29\x00\x00\x00" +
		"\x01\x01o\x00\x02\x00\x00\x00/p\x00\x00\x00\x00\x00\x00" +
		"\x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00" +
		"\x08\x01g\x00\x03yts\x00" + "\x00\x00\x00\x00\x00\x00\x00" +
		"\x05\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00s\x00"
	// The array of fields, 0x29 bytes, ends before the padding in front of the body.
	if diff := cmp.Diff([]byte(want), m.encode()); diff != "" {
		t.Error(diff)
	}
}

func TestBigEndianMessage(t *testing.T) {
	b := []byte("B\x02\x00\x01\x00\x00\x00\x04\x00\x00\x00\x09\x00\x00\x00\x0f" +
		"\x05\x01u\x00\x00\x00\x00\x02" + "\x08\x01g\x00\x01u\x00\x00" + "\x00\x00\x00\x07")
	m, err := decode(b)
	if err != nil || m.kind != methodReturn || m.serial != 9 || m.replyTo != 2 || len(m.body) != 1 || m.body[0].Bits != 7 {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzDecode(f *testing.F) {
	m := &message{kind: signalSent, serial: 7, path: "/a", iface: "c.d", member: "E", body: values(f, "uint32 1", "objectpath '/j'", "'u'", "'done'")}
	f.Add(m.encode())
	m.body = values(f, "{'k': <[(1, 'a')]>}")
	f.Add(m.encode())
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) < fixedHeader {
			return
		}
		if total, err := length(b); err != nil || total > len(b) {
			return
		}
		_, _ = decode(b) // no panic, no endless loop, no big allocation
	})
}
