package netdev

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// datagram lays out one message as the kernel does.
func datagram(kind uint16, seq uint32, body []byte) []byte {
	b := make([]byte, headerSize)
	binary.NativeEndian.PutUint32(b, uint32(headerSize+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}

func TestParse(t *testing.T) {
	errno := func(e unix.Errno) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e))) }
	link := datagram(unix.RTM_NEWLINK, 1, make([]byte, linkSize))
	for _, c := range []struct {
		name string
		in   []byte
		done bool
		err  error
		kept int
	}{
		{"nothing", nil, false, nil, 0},
		{"a part of a dump", link, false, nil, 1},
		{"two parts", append(append([]byte(nil), link...), link...), false, nil, 2},
		{"the end of a dump", append(append([]byte(nil), link...), datagram(unix.NLMSG_DONE, 1, errno(0))...), true, nil, 1},
		{"an acknowledgement", datagram(unix.NLMSG_ERROR, 1, errno(0)), true, nil, 0},
		{"an error", datagram(unix.NLMSG_ERROR, 1, errno(unix.ENODEV)), true, unix.ENODEV, 0},
		{"of another request", datagram(unix.NLMSG_ERROR, 7, errno(unix.ENODEV)), false, nil, 0},
		{"half a header", link[:headerSize-1], false, nil, 0},
		{"longer than it is", link[:len(link)-1], true, errMalformed, 0},
		{"shorter than a header", datagram(0, 1, nil)[:headerSize:headerSize], false, nil, 1},
		{"an error without its number", datagram(unix.NLMSG_ERROR, 1, []byte{0}), true, errMalformed, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var answer []message
			done, err := (&conn{seq: 1}).parse(c.in, &answer)
			if done != c.done || !errors.Is(err, c.err) || len(answer) != c.kept {
				t.Errorf("done %v, %v, %d kept; want %v, %v, %d", done, err, len(answer), c.done, c.err, c.kept)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	m := &message{body: make([]byte, addrSize)}
	m.attr(1, []byte{1, 2, 3, 4, 5})
	m.name(2, "eth0")
	m.attrUint32(3|unix.NLA_F_NESTED, 7)
	got := map[uint16]string{}
	if err := m.attributes(addrSize, func(kind uint16, value []byte) { got[kind] = string(value) }); err != nil {
		t.Fatal(err)
	}
	if got[1] != "\x01\x02\x03\x04\x05" || got[2] != "eth0\x00" || len(got[3]) != 4 || len(got) != 3 {
		t.Errorf("read back %v", got)
	}
	for cut := addrSize + 1; cut < len(m.body); cut++ { // no cut may read outside
		short := &message{body: append([]byte(nil), m.body[:cut]...)}
		_ = short.attributes(addrSize, func(uint16, []byte) {})
	}
	for _, size := range []uint16{0, 3, 9, 0xffff} {
		bad := &message{body: []byte{0, 0, 1, 0, 0, 0, 0, 0}}
		binary.NativeEndian.PutUint16(bad.body, size)
		if err := bad.attributes(0, func(uint16, []byte) {}); !errors.Is(err, errMalformed) {
			t.Errorf("an attribute of %d bytes in 8: %v", size, err)
		}
	}
	if err := m.attributes(len(m.body)+1, nil); !errors.Is(err, errMalformed) {
		t.Errorf("a body shorter than its head: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(datagram(unix.RTM_NEWLINK, 1, make([]byte, linkSize+8)))
	f.Fuzz(func(_ *testing.T, in []byte) {
		var answer []message
		_, _ = (&conn{seq: 1}).parse(in, &answer)
		for i := range answer {
			var a address
			_ = answer[i].attributes(addrSize, a.read)
		}
	})
}

// TestHost asks the kernel for what every namespace has.
func TestHost(t *testing.T) {
	c, err := dial()
	if err != nil {
		t.Skipf("needs netlink: %v", err)
	}
	defer unix.Close(c.fd)
	lo, err := c.link("lo")
	if err != nil || lo.name != "lo" || lo.index == 0 {
		t.Fatalf("lo is %+v, %v", lo, err)
	}
	if again, err := c.linkAt(lo.index); err != nil || again != lo {
		t.Errorf("by its index it is %+v, %v", again, err)
	}
	if _, err := c.link("nosuchdevice"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a missing device: %v", err)
	}
	if _, err := c.addresses(lo.index); err != nil {
		t.Error(err)
	}
}
