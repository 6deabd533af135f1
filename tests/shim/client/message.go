package client

import (
	"encoding/binary"
	"errors"
)

// message is a protobuf message that is being written: fields of the default value are left out.
type message []byte

func (m message) text(field int, s string) message {
	if s == "" {
		return m
	}
	return m.bytes(field, []byte(s))
}

func (m message) number(field int, n uint64) message {
	if n == 0 {
		return m
	}
	return binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3), n)
}

func (m message) flag(field int, b bool) message {
	if !b {
		return m
	}
	return m.number(field, 1)
}

// bytes writes a field of bytes, or a message in the message; also an empty one.
func (m message) bytes(field int, b []byte) message {
	m = binary.AppendUvarint(m, uint64(field)<<3|2)
	return append(binary.AppendUvarint(m, uint64(len(b))), b...)
}

// any writes a google.protobuf.Any.
func (m message) any(field int, name string, value []byte) message {
	if name == "" {
		return m
	}
	return m.bytes(field, message(nil).text(1, name).bytes(2, value))
}

var errTruncated = errors.New("a truncated message")

// fields calls each for every field: with its number, or with its bytes.
func fields(b []byte, each func(field int, n uint64, data []byte) error) error {
	for len(b) > 0 {
		key, size := binary.Uvarint(b)
		if size <= 0 {
			return errTruncated
		}
		b = b[size:]
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return errTruncated
		}
		b = b[size:]
		var data []byte
		switch key & 7 {
		case 0:
		case 2:
			if uint64(len(b)) < n {
				return errTruncated
			}
			data, b, n = b[:n], b[n:], 0
		default:
			return errors.New("a field of a type that containerd's API does not use")
		}
		if err := each(int(key>>3), n, data); err != nil {
			return err
		}
	}
	return nil
}
