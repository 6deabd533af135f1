package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Problem is a part of the tree that cannot be used.
type Problem struct {
	Path []string // the buckets that lead to it
	Page uint64
	Why  error
}

func (p Problem) Error() string {
	return fmt.Sprintf("page %d of bucket %q: %v", p.Page, strings.Join(p.Path, "/"), p.Why)
}

// Visitor is told what the tree holds, in the order of keys, a bucket before its contents. The slices are good for the
// call only. An error ends the walk.
type Visitor interface {
	// Bucket is a bucket inside that of path, with its sequence number.
	Bucket(path [][]byte, name []byte, sequence uint64) error
	// Value is a key of the bucket of path.
	Value(path [][]byte, key, value []byte) error
}

// walker is one walk over a tree.
type walker struct {
	t        Tree
	v        Visitor
	seen     []uint64 // a bit for each page of the file
	spare    [][]byte // buffers of a page
	path     [][]byte
	problems []Problem
}

// bounds are what the keys of a page must be in: from the first (nil: any) to below the second (nil: any).
type bounds struct{ from, below []byte }

// Walk visits what can be read, passes over what cannot, and returns the latter. v may be nil.
func (t Tree) Walk(v Visitor) ([]Problem, error) {
	w := &walker{t: t, v: v, seen: make([]uint64, t.size/t.pageSize/64+1)}
	if err := w.descend(t.root, bounds{}); err != nil {
		return w.problems, err
	}
	w.checkFreelist()
	return w.problems, nil
}

// Check is a walk for its problems only; without any, bbolt can have the file.
func (t Tree) Check() []Problem {
	problems, _ := t.Walk(nil) // only visitors fail
	return problems
}

func (w *walker) problem(id uint64, why error) {
	p := Problem{Page: id, Why: why}
	for _, name := range w.path {
		p.Path = append(p.Path, string(name))
	}
	w.problems = append(w.problems, p)
}

// claim notes that the page, and its overflow, belongs to the tree; none may twice.
func (w *walker) claim(p page) bool {
	for id := p.id; id <= p.id+p.overflow; id++ {
		if w.mark(id) {
			w.problem(p.id, errors.New("is used twice"))
			return false
		}
	}
	return true
}

// mark notes that a page, which is one of the file's, is spoken for, and says whether it was before.
func (w *walker) mark(id uint64) bool {
	bit := uint64(1) << (id % 64)
	was := w.seen[id/64]&bit != 0
	w.seen[id/64] |= bit
	return was
}

// buffer is one for a page, which the caller gives back.
func (w *walker) buffer() []byte {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b
	}
	return make([]byte, w.t.pageSize)
}

func (w *walker) descend(id uint64, b bounds) error {
	buf := w.buffer()
	defer func() { w.spare = append(w.spare, buf) }()
	p, err := w.t.read(id, buf)
	if err != nil {
		w.problem(id, err)
		return nil
	}
	if p.flags != flagBranch && p.flags != flagLeaf {
		w.problem(id, fmt.Errorf("is neither branch nor leaf (flags %#x)", p.flags))
		return nil
	}
	if !w.claim(p) {
		return nil
	}
	return w.elements(p, b)
}

// elements visits those of a page that is read.
func (w *walker) elements(p page, b bounds) error {
	if p.flags == flagBranch && p.count == 0 {
		w.problem(p.id, errors.New("a branch without children"))
		return nil
	}
	last := b.from
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			w.problem(p.id, err)
			return nil // what follows is as little to be trusted
		}
		if order := bytes.Compare(last, e.key); (last != nil && (order > 0 || order == 0 && i > 0)) || (b.below != nil && bytes.Compare(e.key, b.below) >= 0) {
			w.problem(p.id, fmt.Errorf("key %d is out of order", i))
			continue
		}
		last = e.key
		if p.flags == flagBranch {
			below := b.below
			if i+1 < p.count {
				if next, err := p.element(i + 1); err == nil {
					below = next.key
				}
			}
			err = w.descend(e.child, bounds{e.key, below})
		} else {
			err = w.record(p, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) record(p page, e element) error {
	if !e.bucket {
		if w.v == nil {
			return nil
		}
		return w.v.Value(w.path, e.key, e.value)
	}
	if len(e.value) < bucketHeader {
		w.problem(p.id, fmt.Errorf("bucket %q has no header", e.key))
		return nil
	}
	root, sequence := binary.NativeEndian.Uint64(e.value), binary.NativeEndian.Uint64(e.value[8:])
	if w.v != nil {
		if err := w.v.Bucket(w.path, e.key, sequence); err != nil {
			return err
		}
	}
	w.path = append(w.path, bytes.Clone(e.key))
	defer func() { w.path = w.path[:len(w.path)-1] }()
	if root != 0 {
		return w.descend(root, bounds{})
	}
	inline := e.value[bucketHeader:]
	if len(inline) < pageHeader {
		w.problem(p.id, errors.New("inline bucket has no page"))
		return nil
	}
	small := parsePage(inline)
	if small.flags != flagLeaf || small.id != 0 || small.overflow != 0 {
		w.problem(p.id, errors.New("inline bucket is not a leaf"))
		return nil
	}
	small.id = p.id // for the words about problems
	return w.elements(small, bounds{})
}

// checkFreelist checks the list of free pages where there is one: a page may not be both free and in use.
func (w *walker) checkFreelist() {
	if w.t.freelist == noFreelist {
		return
	}
	p, err := w.t.read(w.t.freelist, nil)
	if err == nil && p.flags != flagFreelist {
		err = fmt.Errorf("is no freelist (flags %#x)", p.flags)
	}
	if err != nil {
		w.problem(w.t.freelist, err)
		return
	}
	if !w.claim(p) {
		return
	}
	ids := p.data[pageHeader:]
	count := uint64(p.count) //nolint:gosec // 16 bits
	if count == 0xFFFF {     // the true number comes first
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		w.problem(p.id, fmt.Errorf("a freelist of %d pages does not fit", count))
		return
	}
	for i := range count {
		id := binary.NativeEndian.Uint64(ids[i*8:])
		if id < 2 || id >= w.t.pages {
			w.problem(p.id, fmt.Errorf("free page %d is out of bounds", id))
			return
		}
		if id/64 >= uint64(len(w.seen)) {
			continue // a page that the file has not reached yet
		}
		if w.mark(id) {
			w.problem(p.id, fmt.Errorf("page %d is free and in use", id))
			return
		}
	}
}
