package firewall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	tableName = "gantry-bridges"
	// tablePrefix begins the names of all tables that any build of Gantry has had in the host's namespace.
	tablePrefix = "gantry-"
	// batchBuffer is room for one transaction: a thousand ports and networks take a third of a megabyte.
	batchBuffer = 16 << 20
	// perMessage is how many elements go into one message, whose length the kernel keeps in 16 bits.
	perMessage = 256
)

// nft writes one table per family over netlink.
type nft struct {
	mu   sync.Mutex
	conn *nftables.Conn
	// socket is conn's, port its address: notes about changes made by it are not news.
	socket *netlink.Conn
	port   atomic.Uint32
	// last is what stands in the kernel as of generation, and known what it was made of.
	last       []content
	known      known
	generation uint32
	flows      flows
	// alone says that the other back end has been cleared away.
	alone bool
}

// content is a table as it should be.
type content struct {
	family nftables.TableFamily
	ours   bool
	sets   []*set
}

func openNftables() (Backend, error) {
	n := &nft{}
	if err := n.connect(); err != nil {
		return nil, err
	}
	if _, err := n.current(); err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("firewall-backend nftables: %w", err)
		}
		return nil, fmt.Errorf("firewall-backend nftables: the kernel has no nf_tables (CONFIG_NF_TABLES); set firewall-backend to iptables: %w", err)
	}
	return n, nil
}

func (n *nft) connect() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(n.prepare))
	if err != nil {
		return fmt.Errorf("firewall-backend nftables: %w", err)
	}
	n.conn = conn
	return nil
}

func (n *nft) prepare(c *netlink.Conn) error {
	if err := errors.Join(c.SetWriteBuffer(batchBuffer), c.SetReadBuffer(batchBuffer)); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var at unix.Sockaddr
	ctlErr := raw.Control(func(fd uintptr) { at, err = unix.Getsockname(int(fd)) })
	if err := errors.Join(ctlErr, err); err != nil {
		return err
	}
	n.socket = c
	if a, ok := at.(*unix.SockaddrNetlink); ok {
		n.port.Store(a.Pid)
	}
	return nil
}

// Apply writes only the elements that differ while nobody else has touched any table, otherwise everything anew. Both are
// one transaction.
func (n *nft) Apply(ctx context.Context, r Rules) error {
	if err := filterBridged(r); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.write(r.sorted()); err != nil {
		return err
	}
	return errors.Join(n.flows.follow(r), n.removeIptables(ctx))
}

func (n *nft) write(r Rules) error {
	before, err := n.current()
	if err != nil {
		return err
	}
	if before != 0 && before == n.generation {
		changed, err := n.writeChange(before, r)
		if changed || err != nil {
			return err
		}
		if before, err = n.current(); err != nil {
			return err
		}
	}
	want, err := wanted(r)
	if err != nil {
		return err
	}
	next := r.know(want)
	if n.refill(want) == nil && n.commit(before, want, next) == nil {
		return nil
	}
	if before, err = n.current(); err != nil {
		return err
	}
	if err := n.replace(want); err != nil {
		return err
	}
	return n.commit(before, want, next)
}

// writeChange writes what differs in the changed networks; false when that is not enough, or did not succeed.
func (n *nft) writeChange(before uint32, r Rules) (bool, error) {
	next := r.know(nil)
	deltas, ok, err := n.change(r, next)
	if !ok || err != nil {
		return false, err
	}
	some := false
	for _, d := range deltas {
		some = n.send(d) || some
	}
	if !some {
		next.shared = n.known.shared
		n.known = next
		return true, nil
	}
	written := n.commit(before, n.last, next) == nil
	for _, d := range deltas {
		d.done() // not written, they are of tables that nobody looks at any more
	}
	return written, nil
}

// removeIptables takes away, once, what the other back end left behind.
func (n *nft) removeIptables(ctx context.Context) error {
	if n.alone {
		return nil
	}
	if t, err := newIptables(); err == nil {
		if err := t.Remove(ctx); err != nil {
			return err
		}
	}
	n.alone = true
	return nil
}

func wanted(r Rules) ([]content, error) {
	var want []content
	for _, f := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		v, err := r.of(f == nftables.TableFamilyIPv6)
		if err != nil {
			return nil, err
		}
		if v.used() {
			want = append(want, content{family: f, ours: v.ours, sets: contents(v).list()})
		}
	}
	return want, nil
}

// chains are those of the table.
func (c content) chains() []chain {
	return chains(view{ip6: c.family == nftables.TableFamilyIPv6, ours: c.ours})
}

// current is the generation of the kernel's tables, which each transaction of anybody raises.
func (n *nft) current() (uint32, error) {
	if n.conn == nil {
		if err := n.connect(); err != nil {
			return 0, err
		}
	}
	id, err := generation(n.socket)
	if err != nil {
		n.disconnect()
		return 0, fmt.Errorf("reading the generation of nftables: %w", err)
	}
	return id, nil
}

// generation asks for it: the library cannot.
func generation(c *netlink.Conn) (uint32, error) {
	answer, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return 0, err
	}
	for _, m := range answer {
		if len(m.Data) < 4 {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, err
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), nil
			}
		}
	}
	return 0, errors.New("the kernel does not say")
}

// commit sends what has been prepared.
func (n *nft) commit(before uint32, want []content, next known) error {
	n.last, n.known, n.generation = nil, known{}, 0
	if err := n.conn.Flush(); err != nil {
		// Answers may be left in the socket.
		n.disconnect()
		return fmt.Errorf("writing nftables rules: %w", err)
	}
	after, err := n.current()
	if err != nil {
		return err
	}
	// Anything between would be a change of somebody else's: the next Apply looks at nothing then, and writes all.
	if after == before+1 {
		n.last, n.known, n.generation = want, next, after
	}
	return nil
}

func (n *nft) disconnect() {
	if n.conn != nil {
		_ = n.conn.CloseLasting()
		n.conn = nil
	}
}

// replace prepares all tables anew, and the end of every table that an earlier build has left.
func (n *nft) replace(want []content) error {
	if err := n.drop(); err != nil {
		return err
	}
	for _, w := range want {
		if err := n.fill(w); err != nil {
			return err
		}
	}
	return nil
}

// fill prepares a table's chains, sets and rules. Chains that are there already stay.
func (n *nft) fill(w content) error {
	t := n.conn.AddTable(&nftables.Table{Name: tableName, Family: w.family})
	made := map[string]*nftables.Chain{}
	all := w.chains()
	for _, c := range all {
		made[c.name] = n.conn.AddChain(c.in(t))
	}
	for _, s := range w.sets {
		k := s.in(t)
		if err := n.conn.AddSet(k, nil); err != nil {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
		for part := range slices.Chunk(s.sorted(s.elements), perMessage) {
			if err := n.conn.SetAddElements(k, part); err != nil {
				return fmt.Errorf("set %s: %w", s.name, err)
			}
		}
	}
	for _, c := range all {
		for _, r := range c.rules {
			n.conn.AddRule(&nftables.Rule{Table: t, Chain: made[c.name], Exprs: r})
		}
	}
	return nil
}

// drop prepares the end of our tables.
func (n *nft) drop() error {
	for _, f := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		tables, err := n.tables(f)
		if err != nil {
			return err
		}
		for _, t := range tables {
			n.conn.DelTable(t)
		}
	}
	return nil
}

// tables are ours and those of earlier builds.
func (n *nft) tables(f nftables.TableFamily) ([]*nftables.Table, error) {
	all, err := n.conn.ListTablesOfFamily(f)
	if err != nil {
		n.disconnect()
		return nil, fmt.Errorf("listing nftables tables: %w", err)
	}
	return slices.DeleteFunc(all, func(t *nftables.Table) bool { return !strings.HasPrefix(t.Name, tablePrefix) }), nil
}

// Remove deletes our tables.
func (n *nft) Remove(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, err := n.current()
	if err != nil {
		return err
	}
	if err := n.drop(); err != nil {
		return err
	}
	return n.commit(before, nil, known{})
}

// in is the set as the library wants it.
func (s *set) in(t *nftables.Table) *nftables.Set {
	k := &nftables.Set{Table: t, Name: s.name, KeyType: s.key, DataType: s.data, IsMap: s.isMap, Interval: s.interval}
	if s.key.Name == nftables.TypeIFName.Name {
		// So that nft lists names as names.
		k.KeyByteOrder = binaryutil.NativeEndian
	}
	return k
}

func (c chain) in(t *nftables.Table) *nftables.Chain {
	k := &nftables.Chain{Table: t, Name: c.name, Type: c.kind, Hooknum: c.hook, Priority: c.priority}
	if c.hook != nil {
		k.Policy = &c.policy
	}
	return k
}
