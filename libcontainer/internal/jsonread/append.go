package jsonread

import (
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// The Append functions add the JSON of *v to b, with the meaning that it has for
// encoding/json: nil pointers, slices and maps are null, map keys are sorted.

// AppendKey adds a member's key, and a comma unless it is the object's first.
// Keys are field names of Go structs, which need no escapes.
func AppendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

// AppendString adds a string; bytes that are not UTF-8 become U+FFFD.
func AppendString[T ~string](b []byte, v *T) []byte {
	const hex = "0123456789abcdef"
	s := string(*v)
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			u, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, u)
			i += size
			continue
		}
		i++
	}
	return append(b, '"')
}

// AppendBool adds true or false.
func AppendBool[T ~bool](b []byte, v *T) []byte {
	return strconv.AppendBool(b, bool(*v))
}

// AppendInt adds a signed number.
func AppendInt[T Signed](b []byte, v *T) []byte {
	return strconv.AppendInt(b, int64(*v), 10)
}

// AppendUint adds an unsigned number.
func AppendUint[T Unsigned](b []byte, v *T) []byte {
	return strconv.AppendUint(b, uint64(*v), 10)
}

// AppendTime adds a time of the years 0 to 9999 as RFC 3339 writes it.
func AppendTime(b []byte, v *time.Time) []byte {
	b = append(b, '"')
	b = v.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// AppendRaw adds JSON as it stands; nil is null.
func AppendRaw[T ~[]byte](b []byte, v *T) []byte {
	if *v == nil {
		return append(b, "null"...)
	}
	return append(b, *v...)
}

// AppendPointer adds what v points to.
func AppendPointer[T any](b []byte, v **T, add func([]byte, *T) []byte) []byte {
	if *v == nil {
		return append(b, "null"...)
	}
	return add(b, *v)
}

// AppendSlice adds an array.
func AppendSlice[S ~[]T, T any](b []byte, v *S, add func([]byte, *T) []byte) []byte {
	if *v == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range *v {
		if i > 0 {
			b = append(b, ',')
		}
		b = add(b, &(*v)[i])
	}
	return append(b, ']')
}

// AppendMap adds an object with its keys in order.
func AppendMap[M ~map[K]T, K ~string, T any](b []byte, v *M, add func([]byte, *T) []byte) []byte {
	if *v == nil {
		return append(b, "null"...)
	}
	keys := make([]K, 0, len(*v))
	for key := range *v {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, &key)
		b = append(b, ':')
		value := (*v)[key]
		b = add(b, &value)
	}
	return append(b, '}')
}
