// Package gvariant holds values of the D-Bus type system and reads them from the GVariant
// text format, in which annotations give the properties of a systemd unit. It is pure data:
// package systemd puts the values on the wire.
package gvariant

import (
	"math"
	"strconv"
	"strings"
)

// Value is one value with its type.
type Value struct {
	// Type is the signature of one complete type, D-Bus specification "Type System".
	Type string
	// Bits are a number's: of y, n, q, i, u, x and t its two's complement, of d its IEEE
	// form; of b 0 or 1.
	Bits uint64
	// Text is a string's, an object path's or a signature's.
	Text string
	// Items are the elements of an array, the members of a struct or dictionary entry, or
	// the one value in a variant.
	Items []Value
}

// String makes a value of type s.
func String(s string) Value { return Value{Type: "s", Text: s} }

// Bool makes a value of type b.
func Bool(b bool) Value {
	if b {
		return Value{Type: "b", Bits: 1}
	}
	return Value{Type: "b"}
}

// Uint32 makes a value of type u.
func Uint32(n uint32) Value { return Value{Type: "u", Bits: uint64(n)} }

// Uint64 makes a value of type t.
func Uint64(n uint64) Value { return Value{Type: "t", Bits: n} }

// Bytes makes a value of type ay.
func Bytes(b []byte) Value {
	v := Value{Type: "ay", Items: make([]Value, len(b))}
	for i, c := range b {
		v.Items[i] = Value{Type: "y", Bits: uint64(c)}
	}
	return v
}

// Strings makes a value of type as.
func Strings(list ...string) Value { return Array("s", stringValues(list)...) }

func stringValues(list []string) []Value {
	items := make([]Value, len(list))
	for i, s := range list {
		items[i] = String(s)
	}
	return items
}

// Array makes an array of elements, which are all of the type.
func Array(elem string, items ...Value) Value { return Value{Type: "a" + elem, Items: items} }

// Struct makes a struct of members.
func Struct(members ...Value) Value {
	var sig strings.Builder
	sig.WriteByte('(')
	for i := range members {
		sig.WriteString(members[i].Type)
	}
	sig.WriteByte(')')
	return Value{Type: sig.String(), Items: members}
}

// Variant wraps a value.
func Variant(v Value) Value { return Value{Type: "v", Items: []Value{v}} }

// Seconds reads a number of any type as a count of seconds, for properties that are called
// …Sec by people and …USec on the bus. It is false for what is no number, or a negative one.
func (v *Value) Seconds() (microseconds uint64, ok bool) {
	const million = 1_000_000
	switch v.Type {
	case "y", "q", "u", "t":
		return v.Bits * million, v.Bits <= math.MaxUint64/million
	case "n", "i", "x":
		n := int64(v.Bits)
		return uint64(n) * million, n >= 0 && uint64(n) <= math.MaxUint64/million
	case "d":
		f := math.Float64frombits(v.Bits) * million
		return uint64(f), f >= 0 && f < math.MaxUint64
	}
	return 0, false
}

// String renders the value in the text format; the zero Value is empty.
func (v Value) String() string {
	if v.Type == "" {
		return ""
	}
	var b strings.Builder
	v.write(&b)
	return b.String()
}

// MarshalText is String, for JSON.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

func (v *Value) write(b *strings.Builder) {
	switch v.Type[0] {
	case 'b':
		b.WriteString(strconv.FormatBool(v.Bits != 0))
	case 'y', 'q', 'u', 't':
		b.WriteString(keywordOf(v.Type[0]) + strconv.FormatUint(v.Bits, 10))
	case 'n', 'i', 'x':
		b.WriteString(keywordOf(v.Type[0]) + strconv.FormatInt(int64(v.Bits), 10))
	case 'd':
		b.WriteString(keywordOf('d') + strconv.FormatFloat(math.Float64frombits(v.Bits), 'g', -1, 64))
	case 's', 'o', 'g':
		b.WriteString(keywordOf(v.Type[0]) + quote(v.Text))
	case 'v':
		v.list(b, "<", ">")
	case '(':
		v.list(b, "(", ")")
	case '{':
		v.Items[0].write(b)
		b.WriteString(": ")
		v.Items[1].write(b)
	default:
		v.writeArray(b)
	}
}

func (v *Value) writeArray(b *strings.Builder) {
	switch {
	case len(v.Items) == 0:
		b.WriteString("@" + v.Type + " []")
	case v.Type[1] == '{':
		v.list(b, "{", "}")
	default:
		v.list(b, "[", "]")
	}
}

func (v *Value) list(b *strings.Builder, begin, end string) {
	b.WriteString(begin)
	for i := range v.Items {
		if i > 0 {
			b.WriteString(", ")
		}
		v.Items[i].write(b)
	}
	if v.Type[0] == '(' && len(v.Items) == 1 {
		b.WriteString(",")
	}
	b.WriteString(end)
}

// quote renders a string so that the reader gives it back.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s) + "'"
}
