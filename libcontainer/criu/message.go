package criu

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// message is an encoded protobuf message, protobuf.dev "Encoding". CRIU's are small and
// stable; why they are written by hand is told in docs/decisions/0021.
type message []byte

// The wire types that rpc.proto has a use for.
const (
	wireVarint = 0
	wireBytes  = 2
)

// integer appends a field, and zero only with always.
func (m *message) integer(field, v int, always bool) {
	if v != 0 || always {
		*m = binary.AppendUvarint(*m, uint64(field<<3|wireVarint))
		*m = binary.AppendUvarint(*m, uint64(v))
	}
}

// flag appends a field if it is set.
func (m *message) flag(field int, v bool) {
	if v {
		m.integer(field, 1, true)
	}
}

// text appends a field if it is not empty.
func (m *message) text(field int, v string) {
	if v != "" {
		m.bytes(field, []byte(v))
	}
}

func (m *message) bytes(field int, v []byte) {
	*m = binary.AppendUvarint(*m, uint64(field<<3|wireBytes))
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

// pairs appends a message of two strings for each; an empty string is one, too.
func (m *message) pairs(field int, list []Pair) {
	for _, p := range list {
		var pair message
		pair.bytes(1, []byte(p.Key))
		pair.bytes(2, []byte(p.Value))
		m.bytes(field, pair)
	}
}

// errMessage tells of bytes that are no message.
const errMessage = constError("criu: malformed response")

// fields calls f for each field of a message: with the value of a number, or the bytes.
func fields(b []byte, f func(field int, number uint64, bytes []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return errMessage
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return errMessage
		}
		b = b[n:]
		var bytes []byte
		switch tag & 7 {
		case wireVarint:
		case wireBytes:
			if value > uint64(len(b)) {
				return errMessage
			}
			bytes, b = b[:value], b[value:]
		default:
			return errMessage
		}
		if err := f(int(tag>>3), value, bytes); err != nil {
			return err
		}
	}
	return nil
}

// Response is what CRIU answers.
type Response struct {
	Type    Type
	Success bool
	Errno   int
	Text    string // of an error
	PID     int    // of the restored process
	script  string // of a notification; its process is PID
	version Version
	// Features are those that were asked for and are there.
	features map[Feature]bool
}

// decode reads criu_resp of rpc.proto.
func decode(b []byte) (*Response, error) {
	r := &Response{}
	err := fields(b, func(field int, number uint64, bytes []byte) error {
		switch field {
		case 1:
			r.Type = Type(number)
		case 2:
			r.Success = number != 0
		case 4: // criu_restore_resp
			return fields(bytes, func(field int, number uint64, _ []byte) error {
				if field == 1 {
					r.PID = int(int32(number))
				}
				return nil
			})
		case 5:
			return fields(bytes, r.decodeNotify)
		case 7:
			r.Errno = int(int32(number))
		case 8: // criu_features
			r.features = map[Feature]bool{}
			return fields(bytes, func(field int, number uint64, _ []byte) error {
				r.features[Feature(field)] = number != 0
				return nil
			})
		case 9:
			r.Text = string(bytes)
		case 10:
			return r.decodeVersion(bytes)
		}
		return nil
	})
	return r, err
}

// decodeNotify reads a field of criu_notify.
func (r *Response) decodeNotify(field int, number uint64, bytes []byte) error {
	switch field {
	case 1:
		r.script = string(bytes)
	case 2:
		r.PID = int(int32(number))
	}
	return nil
}

// decodeVersion reads criu_version. One with a gitid was built from a tree that is on its
// way to the next release.
func (r *Response) decodeVersion(b []byte) error {
	git := false
	err := fields(b, func(field int, number uint64, bytes []byte) error {
		switch field {
		case 1:
			r.version += Version(number) * 10000
		case 2:
			r.version += Version(number) * 100
		case 3:
			git = len(bytes) > 0
		case 4:
			r.version += Version(number)
		}
		return nil
	})
	if git {
		r.version += 100 - r.version%100
	}
	return err
}

// passedFD takes the descriptor out of a control message, unix(7) SCM_RIGHTS; -1 without one.
func passedFD(oob []byte) (int, error) {
	if len(oob) == 0 {
		return -1, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(unix.EPROTO, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(unix.EPROTO, err)
	}
	return fds[0], nil
}
