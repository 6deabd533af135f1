package firewall

import (
	"errors"
	"slices"

	"github.com/google/nftables"
)

// errOtherTables says that what stands in the kernel is not the tables that are wanted with other contents.
var errOtherTables = errors.New("other tables stand in the kernel")

// refill prepares new contents for the tables that are there. Chains with hooks stay: were they deleted and made again,
// a packet on its way, which goes by the hooks of when it set out, could come to the old ones, which have no rules any
// more, and not to the new ones.
func (n *nft) refill(want []content) error {
	err := n.refillAll(want)
	if err != nil {
		n.disconnect() // with what is prepared
	}
	return err
}

func (n *nft) refillAll(want []content) error {
	for _, f := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		tables, err := n.tables(f)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(want, func(w content) bool { return w.family == f })
		if i < 0 && len(tables) == 0 {
			continue
		}
		if i < 0 || len(tables) != 1 || tables[0].Name != tableName {
			return errOtherTables
		}
		if err := n.empty(tables[0], want[i].chains()); err != nil {
			return err
		}
		if err := n.fill(want[i]); err != nil {
			return err
		}
	}
	return nil
}

// empty prepares the end of all in a table but the chains that are wanted, whose rules go.
func (n *nft) empty(t *nftables.Table, wanted []chain) error {
	there, err := n.conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return err
	}
	sets, err := n.conn.GetSets(t)
	if err != nil {
		return err
	}
	there = slices.DeleteFunc(there, func(c *nftables.Chain) bool { return c.Table.Name != t.Name })
	for _, c := range there {
		n.conn.FlushChain(c)
	}
	for _, s := range sets {
		if !s.Anonymous { // such a one is a rule's
			n.conn.DelSet(s)
		}
	}
	for _, c := range there {
		i := slices.IndexFunc(wanted, func(w chain) bool { return w.name == c.Name })
		if i < 0 {
			n.conn.DelChain(c)
		} else if !wanted[i].hooked(c) {
			return errOtherTables
		}
	}
	return nil
}

// hooked says whether a chain of the kernel's sees the same packets at the same place.
func (c chain) hooked(there *nftables.Chain) bool {
	if c.hook == nil || there.Hooknum == nil {
		return c.hook == nil && there.Hooknum == nil
	}
	return c.kind == there.Type && *c.hook == *there.Hooknum && *c.priority == *there.Priority
}
