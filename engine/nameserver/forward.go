package nameserver

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/poll"
)

const (
	// maxServers is how many servers are asked, one after the other.
	maxServers = 3
	// patience is how long a server has to answer; over UDP it is asked again after half of it.
	patience = 4 * time.Second
	// maxOfOne and maxOfAll are how many questions may be with others, of one sandbox and of all.
	maxOfOne, maxOfAll = 1024, 8192
)

// question is one that others are asked.
type question struct {
	sb   *sandbox
	raw  []byte
	from asker
	// server is the one that is asked, id the number of the question there.
	server  int
	id      uint16
	again   bool
	stream  stream // of TCP; only its fd is used for UDP, -1 for none
	timer   *time.Timer
	timeout time.Time
}

// forward asks others.
func (sb *sandbox) forward(raw []byte, from asker) {
	if len(sb.questions) >= maxOfOne || sb.s.questions >= maxOfAll {
		sb.reply(fail(raw, dns.RcodeRefused), from)
		return
	}
	q := &question{sb: sb, raw: bytes.Clone(raw), from: from, server: -1, stream: stream{fd: -1}}
	sb.questions[q] = struct{}{}
	sb.s.questions++
	q.nextServer()
}

// end has nobody wait for an answer any more.
func (q *question) end() {
	if _, ok := q.sb.questions[q]; !ok {
		return
	}
	delete(q.sb.questions, q)
	q.sb.s.questions--
	q.hangUp()
}

func (q *question) hangUp() {
	if q.timer != nil {
		q.timer.Stop()
	}
	if q.stream.fd >= 0 {
		q.sb.s.loop.Close(q.stream.fd)
	}
	q.stream = stream{fd: -1}
}

// done tells who asked.
func (q *question) done(reply []byte) {
	q.end()
	copy(reply, q.raw[:2])
	if q.from.client == nil || !q.from.client.closed {
		q.sb.reply(reply, q.from)
	}
}

// nextServer asks the next server, or gives up.
func (q *question) nextServer() {
	for {
		q.hangUp()
		q.server++
		if q.server >= min(len(q.sb.Upstream), maxServers) {
			q.done(fail(q.raw, dns.RcodeServerFailure))
			return
		}
		if q.askServer(q.sb.Upstream[q.server]) {
			return
		}
	}
}

// askServer begins to ask a server. It says no when that is impossible.
func (q *question) askServer(server Upstream) bool {
	fd, err := q.dial(server)
	if err != nil {
		return false
	}
	q.stream.fd = fd
	q.id = uint16(rand.Uint32())
	q.again = false
	wait, events := patience/2, uint32(unix.EPOLLIN)
	if q.from.client != nil {
		q.stream.put(q.message())
		wait, events = patience, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET
	} else if !q.send() {
		return false
	}
	if err := q.sb.s.loop.Add(fd, events, q); err != nil {
		return false
	}
	q.wait(wait)
	return true
}

// wait bounds the time for an answer.
func (q *question) wait(d time.Duration) {
	q.timeout = time.Now().Add(d)
	q.timer = q.sb.s.loop.After(d, func() {
		if _, waits := q.sb.questions[q]; waits && !time.Now().Before(q.timeout) {
			q.late()
		}
	})
}

// late asks once more, when a datagram may have been lost, or else the next server.
func (q *question) late() {
	if q.from.client == nil && !q.again && q.send() {
		q.again = true
		q.wait(patience / 2)
		return
	}
	q.nextServer()
}

// message is the question with its number at the server: not the client's, which others may know.
func (q *question) message() []byte {
	return append(binary.BigEndian.AppendUint16(nil, q.id), q.raw[2:]...)
}

func (q *question) send() bool {
	for range 2 { // That one before was refused is told now.
		if _, err := unix.SendmsgN(q.stream.fd, q.message(), nil, nil, unix.MSG_NOSIGNAL); err != unix.ECONNREFUSED {
			return err == nil || err == unix.EAGAIN
		}
	}
	return false
}

// dial makes a socket in the namespace from which a server is asked, with a port of its own for each question.
func (q *question) dial(server Upstream) (fd int, err error) {
	kind := unix.SOCK_DGRAM
	if q.from.client != nil {
		kind = unix.SOCK_STREAM
	}
	to, family := sockaddr(server.Server)
	open := func() error {
		fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	}
	if server.InNamespace && q.sb.sockets != nil {
		err = poll.In(q.sb.namespace, open)
	} else {
		err = open()
	}
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, int) {
	if addr := a.Addr().Unmap(); addr.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}

// Ready takes what the server says.
func (q *question) Ready(uint32) {
	if _, waits := q.sb.questions[q]; !waits {
		return
	}
	if q.from.client != nil {
		q.readStream()
		return
	}
	buf := q.sb.s.loop.Buffer
	for range turn {
		n, _, err := unix.Recvfrom(q.stream.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return
		case err != nil: // Nobody listens there.
			q.nextServer()
			return
		case q.take(buf[:n]):
			return
		}
	}
}

func (q *question) readStream() {
	if _, err := unix.Getpeername(q.stream.fd); err == unix.ENOTCONN {
		if e, err := unix.GetsockoptInt(q.stream.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e != 0 {
			q.nextServer()
		}
		return
	}
	err := q.stream.flush()
	if err == nil {
		err = q.stream.fill(q.sb.s.loop.Buffer)
	}
	for {
		message, ok := q.stream.next()
		if !ok {
			break
		}
		if q.take(message) {
			return
		}
	}
	if err != nil {
		q.nextServer()
	}
}

// take looks at what came, and says whether it was the answer of this server. What it was not may be somebody's try to
// answer in its place, and is not heeded.
func (q *question) take(reply []byte) bool {
	if len(reply) < header || binary.BigEndian.Uint16(reply) != q.id || reply[2]&0x80 == 0 {
		return false
	}
	rcode := int(reply[3] & 0xf)
	// A server that cannot read the question need not repeat it.
	mute := (rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented) && binary.BigEndian.Uint16(reply[4:]) == 0
	if !mute && !sameQuestion(questionOf(reply), questionOf(q.raw)) {
		return false
	}
	if rcode == dns.RcodeServerFailure || rcode == dns.RcodeRefused {
		q.nextServer()
		return true
	}
	q.done(reply)
	return true
}

// sameQuestion compares without regard to the case of names.
func sameQuestion(a, b []byte) bool {
	if len(a) != len(b) || len(a) < 4 {
		return false
	}
	name := len(a) - 4
	return bytes.Equal(a[name:], b[name:]) && bytes.EqualFold(a[:name], b[:name])
}
