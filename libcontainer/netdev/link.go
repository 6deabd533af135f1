package netdev

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// link is a network device as one namespace sees it.
type link struct {
	index uint32
	name  string
	up    bool
}

// linkMessage begins a change of a device.
func linkMessage(index uint32) *message {
	m := &message{kind: unix.RTM_NEWLINK, body: make([]byte, linkSize)}
	binary.NativeEndian.PutUint32(m.body[4:], index)
	return m
}

// link looks a device up by its name; ENODEV if there is none.
func (c *conn) link(name string) (link, error) {
	m := linkMessage(0)
	m.name(unix.IFLA_IFNAME, name)
	return c.get(m)
}

// linkAt looks a device up by its index.
func (c *conn) linkAt(index uint32) (link, error) { return c.get(linkMessage(index)) }

func (c *conn) get(m *message) (link, error) {
	m.kind = unix.RTM_GETLINK
	answer, err := c.request(m)
	if err != nil {
		return link{}, err
	}
	for i := range answer {
		a := &answer[i]
		if a.kind != unix.RTM_NEWLINK || len(a.body) < linkSize {
			continue
		}
		flags := binary.NativeEndian.Uint32(a.body[8:])
		l := link{index: binary.NativeEndian.Uint32(a.body[4:]), up: flags&unix.IFF_UP != 0}
		err := a.attributes(linkSize, func(kind uint16, value []byte) {
			if kind == unix.IFLA_IFNAME {
				l.name = strings.TrimRight(string(value), "\x00")
			}
		})
		return l, err
	}
	return link{}, unix.ENODEV
}

func (c *conn) rename(index uint32, name string) error {
	m := linkMessage(index)
	m.name(unix.IFLA_IFNAME, name)
	_, err := c.request(m)
	return err
}

// send moves a device to another namespace under a name. The kernel first moves it and then
// renames it; where that fails the device is there all the same.
func (c *conn) send(index uint32, namespace uint16, ref int, name string) error {
	m := linkMessage(index)
	m.attrUint32(namespace, uint32(ref))
	m.name(unix.IFLA_IFNAME, name)
	_, err := c.request(m)
	return err
}

func (c *conn) setUp(index uint32) error {
	m := linkMessage(index)
	binary.NativeEndian.PutUint32(m.body[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(m.body[12:], unix.IFF_UP)
	_, err := c.request(m)
	return err
}
