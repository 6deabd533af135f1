package systemd

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
)

// The message types, and the header fields, of the D-Bus specification "Message Protocol".
const (
	methodCall   = 1
	methodReturn = 2
	errorReply   = 3
	signalSent   = 4

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8

	// maxMessage is the specification's bound.
	maxMessage = 128 << 20
	// fixedHeader is what tells how long a message is.
	fixedHeader = 16
)

// message is one message; of its header, the fields that matter here.
type message struct {
	kind        byte
	serial      uint32
	replyTo     uint32
	path        string
	iface       string
	member      string
	errorName   string
	destination string
	body        []gvariant.Value
}

// encode renders the message as the little-endian kind.
func (m *message) encode() []byte {
	var signature strings.Builder
	var body []byte
	for i := range m.body {
		signature.WriteString(m.body[i].Type)
		body = appendValue(body, &m.body[i])
	}
	b := []byte{'l', m.kind, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, m.serial)
	fields := gvariant.Array("(yv)")
	add := func(code byte, kind, text string) {
		if text != "" {
			fields.Items = append(fields.Items, gvariant.Struct(
				gvariant.Value{Type: "y", Bits: uint64(code)}, gvariant.Variant(gvariant.Value{Type: kind, Text: text}),
			))
		}
	}
	add(fieldPath, "o", m.path)
	add(fieldInterface, "s", m.iface)
	add(fieldMember, "s", m.member)
	add(fieldErrorName, "s", m.errorName)
	add(fieldDestination, "s", m.destination)
	add(fieldSignature, "g", signature.String())
	if m.replyTo != 0 {
		fields.Items = append(fields.Items, gvariant.Struct(
			gvariant.Value{Type: "y", Bits: fieldReplySerial}, gvariant.Variant(gvariant.Uint32(m.replyTo)),
		))
	}
	b = pad(appendValue(b, &fields), 8)
	return append(b, body...)
}

// alignment is where a value of the type may begin.
func alignment(sig string) int {
	switch sig[0] {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

func pad(b []byte, to int) []byte {
	for len(b)%to != 0 {
		b = append(b, 0)
	}
	return b
}

// appendValue marshals a value; b begins at a multiple of 8 in the message.
func appendValue(b []byte, v *gvariant.Value) []byte {
	order := binary.LittleEndian
	b = pad(b, alignment(v.Type))
	switch v.Type[0] {
	case 'y':
		return append(b, byte(v.Bits))
	case 'n', 'q':
		return order.AppendUint16(b, uint16(v.Bits))
	case 'b', 'i', 'u':
		return order.AppendUint32(b, uint32(v.Bits))
	case 'x', 't', 'd':
		return order.AppendUint64(b, v.Bits)
	case 's', 'o':
		b = order.AppendUint32(b, uint32(len(v.Text)))
		return append(append(b, v.Text...), 0)
	case 'g':
		return appendSignature(b, v.Text)
	case 'v':
		return appendValue(appendSignature(b, v.Items[0].Type), &v.Items[0])
	case 'a':
		at := len(b)
		b = pad(order.AppendUint32(b, 0), alignment(v.Type[1:]))
		start := len(b) // the length counts no padding before the first element
		for i := range v.Items {
			b = appendValue(b, &v.Items[i])
		}
		order.PutUint32(b[at:], uint32(len(b)-start))
		return b
	}
	for i := range v.Items {
		b = appendValue(b, &v.Items[i])
	}
	return b
}

func appendSignature(b []byte, sig string) []byte {
	return append(append(append(b, byte(len(sig))), sig...), 0)
}

var errMalformed = errors.New("malformed D-Bus message")

// orderOf is the byte order of a message.
func orderOf(header []byte) (binary.ByteOrder, error) {
	switch header[0] {
	case 'l':
		return binary.LittleEndian, nil
	case 'B':
		return binary.BigEndian, nil
	}
	return nil, errMalformed
}

// length is that of the whole message that begins with the header.
func length(header []byte) (int, error) {
	order, err := orderOf(header)
	if err != nil {
		return 0, err
	}
	body, fields := uint64(order.Uint32(header[4:])), uint64(order.Uint32(header[12:]))
	total := fixedHeader + (fields+7)/8*8 + body
	if total > maxMessage {
		return 0, errMalformed
	}
	return int(total), nil
}

// decode reads a whole message.
func decode(b []byte) (*message, error) {
	order, err := orderOf(b)
	if err != nil {
		return nil, err
	}
	m := &message{kind: b[1], serial: order.Uint32(b[8:])}
	d := decoder{b: b, at: 12, order: order}
	fields := d.value("a(yv)", 0)
	d.align(8)
	signature := ""
	for i := range fields.Items {
		code, v := fields.Items[i].Items[0].Bits, &fields.Items[i].Items[1].Items[0]
		switch code {
		case fieldPath:
			m.path = v.Text
		case fieldInterface:
			m.iface = v.Text
		case fieldMember:
			m.member = v.Text
		case fieldErrorName:
			m.errorName = v.Text
		case fieldReplySerial:
			m.replyTo = uint32(v.Bits)
		case fieldSignature:
			signature = v.Text
		}
	}
	for signature != "" && d.err == nil {
		var sig string
		if sig, signature, err = gvariant.Next(signature); err != nil {
			return nil, errMalformed
		}
		m.body = append(m.body, d.value(sig, 0))
	}
	return m, d.err
}

// decoder reads values; after an error it reads zeros.
type decoder struct {
	b     []byte
	at    int
	order binary.ByteOrder
	err   error
}

func (d *decoder) align(n int) { d.at += (n - d.at%n) % n }

// take returns the next n bytes, or nil.
func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b)-d.at {
		d.err = errMalformed
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) number(size int) uint64 {
	b := d.take(size)
	switch {
	case b == nil:
		return 0
	case size == 1:
		return uint64(b[0])
	case size == 2:
		return uint64(d.order.Uint16(b))
	case size == 4:
		return uint64(d.order.Uint32(b))
	}
	return d.order.Uint64(b)
}

// text reads a string of a known length and the NUL behind it.
func (d *decoder) text(n uint64) string {
	b := d.take(int(min(n, math.MaxInt32)) + 1)
	if b == nil {
		return ""
	}
	return string(b[:n])
}

// value reads a value of the type.
func (d *decoder) value(sig string, depth int) gvariant.Value {
	v := gvariant.Value{Type: sig}
	const maxDepth = 64 // the specification's bound
	if d.err != nil || depth > maxDepth {
		d.err = errMalformed
		return v
	}
	d.align(alignment(sig))
	switch sig[0] {
	case 'y', 'n', 'q', 'b', 'i', 'u', 'x', 't', 'd':
		v.Bits = d.number(numberSize(sig[0]))
		if unused := 64 - 8*numberSize(sig[0]); sig[0] == 'n' || sig[0] == 'i' {
			v.Bits = uint64(int64(v.Bits<<unused) >> unused)
		}
	case 's', 'o':
		v.Text = d.text(d.number(4))
	case 'g':
		v.Text = d.text(d.number(1))
	case 'v':
		inner, rest, err := gvariant.Next(d.text(d.number(1)))
		if err != nil || rest != "" {
			d.err = errMalformed
			inner = "y"
		}
		v.Items = []gvariant.Value{d.value(inner, depth+1)}
	case 'a':
		v.Items = d.elements(sig[1:], depth)
	default:
		for _, member := range gvariant.Members(sig) {
			v.Items = append(v.Items, d.value(member, depth+1))
		}
	}
	return v
}

func (d *decoder) elements(sig string, depth int) (items []gvariant.Value) {
	size := int(min(d.number(4), maxMessage))
	d.align(alignment(sig))
	for end := d.at + size; d.at < end && d.err == nil; {
		items = append(items, d.value(sig, depth+1))
	}
	return items
}

func numberSize(kind byte) int {
	switch kind {
	case 'y':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd':
		return 8
	}
	return 4
}
