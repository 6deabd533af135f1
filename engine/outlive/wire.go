package outlive

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage is the largest message in bytes: a session that is handed over has up to a few megabytes in hand.
const maxMessage = 64 << 20

// Wire carries messages over a unix socket: four bytes of length in big endian, JSON, and descriptors with the first
// byte.
type Wire struct {
	conn *net.UnixConn
	mu   sync.Mutex // one writer at a time
}

// NewWire is a Wire over a connected stream socket.
func NewWire(conn *net.UnixConn) *Wire { return &Wire{conn: conn} }

// Close ends the connection.
func (w *Wire) Close() { w.conn.Close() }

// SetDeadline bounds everything that is sent and received from here on.
func (w *Wire) SetDeadline(t time.Time) { _ = w.conn.SetDeadline(t) }

// Send writes a message. Descriptors are copied to the other side, and stay the caller's.
func (w *Wire) Send(v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	msg := append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(fds) > 0 {
		n, _, err := w.conn.WriteMsgUnix(msg, unix.UnixRights(fds...), nil)
		if err != nil {
			return err
		}
		msg = msg[n:]
	}
	_, err = w.conn.Write(msg)
	return err
}

// Receive reads the next message and the descriptors that came with it, which are the caller's.
func (w *Wire) Receive(v any) ([]int, error) {
	var fds []int
	var head [4]byte
	if err := w.full(head[:], &fds); err != nil {
		CloseAll(fds)
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		CloseAll(fds)
		return nil, fmt.Errorf("a message of %d bytes is too large", n)
	}
	b := make([]byte, n)
	if err := w.full(b, &fds); err != nil {
		CloseAll(fds)
		return nil, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		CloseAll(fds)
		return nil, err
	}
	return fds, nil
}

func (w *Wire) full(b []byte, fds *[]int) error {
	oob := make([]byte, unix.CmsgSpace(8*4))
	for len(b) > 0 {
		n, oobn, _, _, err := w.conn.ReadMsgUnix(b, oob)
		if err != nil {
			return err
		}
		got, err := rights(oob[:oobn])
		*fds = append(*fds, got...)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		b = b[n:]
	}
	return nil
}

func rights(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	for _, m := range msgs {
		got, e := unix.ParseUnixRights(&m)
		err = errors.Join(err, e)
		fds = append(fds, got...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, err
}

// CloseAll closes descriptors that nobody wants.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
