package ttrpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The limits of a frame (PROTOCOL.md, Message Frame).
const (
	headerSize = 10
	maxBody    = 4 << 20
)

// The kinds of frames that unary calls are made of (PROTOCOL.md, Message Types).
const (
	kindRequest  = 1
	kindResponse = 2
)

// header is what stands before each message: the body's length in bytes, the stream, the kind and its flags.
type header struct {
	length, stream uint32
	kind, flags    byte
}

var errNotTTRPC = errors.New("the first byte of a frame is not zero: not ttrpc")

// readFrame reads one frame. The body of one that is too long is thrown away: the caller sees the length in the header.
// The small buffer is the caller's, so that a connection that waits holds no more than that.
func readFrame(r io.Reader, small *[headerSize]byte) (header, []byte, error) {
	if _, err := io.ReadFull(r, small[:]); err != nil {
		return header{}, nil, err
	}
	if small[0] != 0 {
		return header{}, nil, errNotTTRPC
	}
	h := header{
		length: binary.BigEndian.Uint32(small[0:]),
		stream: binary.BigEndian.Uint32(small[4:]),
		kind:   small[8],
		flags:  small[9],
	}
	if h.length > maxBody {
		_, err := io.CopyN(io.Discard, r, int64(h.length))
		return h, nil, err
	}
	body := make([]byte, h.length)
	if _, err := io.ReadFull(r, body); err != nil {
		return header{}, nil, fmt.Errorf("a frame's body of %d bytes: %w", h.length, err)
	}
	return h, body, nil
}

// envelope is a Request or a Response: what a frame's body is made of.
type envelope interface {
	SizeVT() int
	MarshalToSizedBufferVT(to []byte) (int, error)
}

// frame makes the bytes of one frame, to be written at once.
func frame(kind byte, stream uint32, e envelope) ([]byte, error) {
	size := e.SizeVT()
	if size > maxBody {
		return nil, tooLong(size)
	}
	b := make([]byte, headerSize+size)
	binary.BigEndian.PutUint32(b[0:], uint32(size))
	binary.BigEndian.PutUint32(b[4:], stream)
	b[8] = kind
	if _, err := e.MarshalToSizedBufferVT(b[headerSize:]); err != nil {
		return nil, err
	}
	return b, nil
}

func tooLong(size int) error {
	return Errorf(ResourceExhausted, "a message of %d bytes: the limit is %d", size, maxBody)
}
