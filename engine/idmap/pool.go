package idmap

import (
	"errors"
	"fmt"

	"github.com/moby/sys/user"
)

// Width is how many ids each container of a pool has.
const Width = 1 << 16

// ErrFull says that all ranges of a pool are taken.
var ErrFull = errors.New("all ranges of ids are taken")

// Pool is ranges that are cut into pieces, one for each container.
type Pool struct{ uids, gids []user.SubID }

// Pool is the ranges of a user, who need not exist otherwise.
func (f Files) Pool(name string) (p Pool, err error) {
	if p.uids, err = subIDs(f.SubUID, []string{name}); err != nil {
		return p, fmt.Errorf("ranges for containers: %w", err)
	}
	if p.gids, err = subIDs(f.SubGID, []string{name}); err != nil {
		return p, fmt.Errorf("ranges for containers: %w", err)
	}
	if len(pieces(p.uids)) == 0 || len(pieces(p.gids)) == 0 {
		return p, fmt.Errorf("ranges for containers: user %q has none of %d ids", name, Width)
	}
	return p, nil
}

// Take is a piece that none of those has that are given. Nothing is remembered: who takes it writes it down before the
// next one is taken.
func (p Pool) Take(taken []user.IdentityMapping) (user.IdentityMapping, error) {
	uids, gids := map[int64]bool{}, map[int64]bool{}
	for _, t := range taken {
		mark(uids, t.UIDMaps)
		mark(gids, t.GIDMaps)
	}
	u, ok := free(pieces(p.uids), uids)
	g, okToo := free(pieces(p.gids), gids)
	if !ok || !okToo {
		return user.IdentityMapping{}, ErrFull
	}
	return user.IdentityMapping{
		UIDMaps: []user.IDMap{{ParentID: u, Count: Width}}, GIDMaps: []user.IDMap{{ParentID: g, Count: Width}},
	}, nil
}

func mark(set map[int64]bool, maps []user.IDMap) {
	for _, m := range maps {
		set[m.ParentID] = true
	}
}

func pieces(list []user.SubID) (firsts []int64) {
	for _, s := range list {
		for at := s.SubID; at+Width <= s.SubID+s.Count; at += Width {
			firsts = append(firsts, at)
		}
	}
	return firsts
}

func free(all []int64, taken map[int64]bool) (int64, bool) {
	for _, first := range all {
		if !taken[first] {
			return first, true
		}
	}
	return 0, false
}
