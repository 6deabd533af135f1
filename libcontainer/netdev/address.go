package netdev

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// address is an address of a device, with what the kernel is told when it is added anew.
type address struct {
	family, prefix, scope byte
	flags                 uint32
	label                 string
	attrs                 []attribute
	lifetime              []byte // struct ifa_cacheinfo of one that expires
}

type attribute struct {
	kind  uint16
	value []byte
}

// ifaProto is IFA_PROTO of include/uapi/linux/if_addr.h, since Linux 5.18.
const ifaProto = 11

// keptFlags are those that somebody chose; the others tell of the address's state.
const keptFlags = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR |
	unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// lasting reports whether an address goes with the device into a container: permanent, and
// not of this host or link alone, config-linux.md "Network Devices".
func (a *address) lasting() bool {
	return a.flags&unix.IFA_F_PERMANENT != 0 && a.scope == unix.RT_SCOPE_UNIVERSE
}

// addresses lists those of a device, in the order in which they must be added again.
func (c *conn) addresses(index uint32) ([]address, error) {
	answer, err := c.request(&message{kind: unix.RTM_GETADDR, flags: unix.NLM_F_DUMP, body: make([]byte, addrSize)})
	if err != nil {
		return nil, err
	}
	var list []address
	for i := range answer {
		m := &answer[i]
		if m.kind != unix.RTM_NEWADDR || len(m.body) < addrSize || binary.NativeEndian.Uint32(m.body[4:]) != index {
			continue
		}
		a := address{family: m.body[0], prefix: m.body[1], flags: uint32(m.body[2]), scope: m.body[3]}
		if err := m.attributes(addrSize, a.read); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func (a *address) read(kind uint16, value []byte) {
	switch kind {
	case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY, ifaProto:
		a.attrs = append(a.attrs, attribute{kind, value})
	case unix.IFA_FLAGS:
		if len(value) == 4 {
			a.flags = binary.NativeEndian.Uint32(value)
		}
	case unix.IFA_LABEL:
		a.label = strings.TrimRight(string(value), "\x00")
	case unix.IFA_CACHEINFO:
		a.lifetime = value
	}
}

// add gives a device an address. name is what the device was called when the address was
// read and newName what it is called now: an IPv4 address's label begins with it.
func (c *conn) add(index uint32, a *address, name, newName string) error {
	m := &message{kind: unix.RTM_NEWADDR, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: make([]byte, addrSize)}
	m.body[0], m.body[1], m.body[3] = a.family, a.prefix, a.scope
	binary.NativeEndian.PutUint32(m.body[4:], index)
	for _, x := range a.attrs {
		m.attr(x.kind, x.value)
	}
	m.attrUint32(unix.IFA_FLAGS, a.flags&keptFlags)
	if rest, ok := strings.CutPrefix(a.label, name+":"); ok && len(newName)+1+len(rest) < unix.IFNAMSIZ {
		m.name(unix.IFA_LABEL, newName+":"+rest)
	}
	if a.flags&unix.IFA_F_PERMANENT == 0 && a.lifetime != nil {
		m.attr(unix.IFA_CACHEINFO, a.lifetime)
	}
	_, err := c.request(m)
	return err
}
