// Package boltfile reads bbolt's file format without trusting a byte of it.
//
// bbolt maps its file and believes what it finds there: a damaged page is a panic, a truncated file a SIGBUS, and a
// circle of pages a stack overflow, all of them while it opens. This package reads with pread, checks each length, and
// follows no page twice; so it can say whether bbolt may have the file, and save what can still be read of one that it
// may not have.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// The format is bbolt's (internal/common): sizes in bytes.
const (
	magic         = 0xED0CDAED
	version       = 2
	pageHeader    = 16
	metaBody      = 64
	elementSize   = 16 // of leaves and of branches
	bucketHeader  = 16
	noFreelist    = ^uint64(0)
	flagBranch    = 0x01
	flagLeaf      = 0x02
	flagFreelist  = 0x10
	flagBucket    = 0x01 // of an element
	smallestPage  = 1 << 10
	biggestPage   = 16 << 20
	longestRecord = 1 << 30 // no page and its overflow is longer
)

// ErrNoMeta is the answer for a file without a single good meta page: nothing in it can be found.
var ErrNoMeta = errors.New("boltfile: no valid meta page")

// Tree is the database as of one of the two meta pages, that is, as of one transaction.
type Tree struct {
	r        io.ReaderAt
	size     int64 // of the file
	pageSize int64
	root     uint64
	freelist uint64
	pages    uint64 // the first page number that is not in use
	Txid     uint64
}

// Used is how many bytes of the file the database reaches.
func (t Tree) Used() int64 { return int64(t.pages) * t.pageSize } //nolint:gosec // checked in readMeta

// Trees are those of the valid meta pages, the last transaction first; bbolt would take that one.
func Trees(r io.ReaderAt, size int64) ([]Tree, error) {
	var trees []Tree
	if t, ok := readMeta(r, size, 0); ok {
		trees = append(trees, t)
	}
	for at := int64(smallestPage); at <= biggestPage && at < size; at *= 2 {
		if t, ok := readMeta(r, size, at); ok && t.pageSize == at {
			trees = append(trees, t)
			break
		}
	}
	if len(trees) == 0 {
		return nil, ErrNoMeta
	}
	slices.SortStableFunc(trees, func(a, b Tree) int {
		if a.Txid > b.Txid {
			return -1
		}
		return 1
	})
	return trees, nil
}

func readMeta(r io.ReaderAt, size, at int64) (Tree, bool) {
	var b [pageHeader + metaBody]byte
	if n, err := r.ReadAt(b[:], at); n < len(b) && err != nil {
		return Tree{}, false
	}
	m := b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(m[:56])
	if binary.NativeEndian.Uint32(m) != magic || binary.NativeEndian.Uint32(m[4:]) != version ||
		binary.NativeEndian.Uint64(m[56:]) != sum.Sum64() {
		return Tree{}, false
	}
	t := Tree{
		r: r, size: size,
		pageSize: int64(binary.NativeEndian.Uint32(m[8:])),
		root:     binary.NativeEndian.Uint64(m[16:]),
		freelist: binary.NativeEndian.Uint64(m[32:]),
		pages:    binary.NativeEndian.Uint64(m[40:]),
		Txid:     binary.NativeEndian.Uint64(m[48:]),
	}
	ok := t.pageSize >= smallestPage && t.pageSize <= biggestPage && t.pageSize&(t.pageSize-1) == 0 &&
		t.pages >= 2 && t.pages < 1<<40
	return t, ok
}

// page is one page with its overflow.
type page struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
	data     []byte
}

// read reads a page, into buf where there is one, and checks that it says of itself what it should.
func (t Tree) read(id uint64, buf []byte) (page, error) {
	if id < 2 || id >= t.pages {
		return page{}, fmt.Errorf("number %d is out of bounds (2 to %d)", id, t.pages)
	}
	at := int64(id) * t.pageSize //nolint:gosec // id < pages < 1<<40
	if at+t.pageSize > t.size {
		return page{}, errors.New("beyond the end of the file")
	}
	data := buf
	if data == nil {
		data = make([]byte, t.pageSize)
	}
	if _, err := t.r.ReadAt(data, at); err != nil {
		return page{}, err
	}
	p := parsePage(data)
	if p.id != id {
		return page{}, fmt.Errorf("says that it is number %d", p.id)
	}
	if p.overflow == 0 {
		return p, nil
	}
	length := t.pageSize * int64(p.overflow+1) //nolint:gosec // 32 bits
	if id+p.overflow >= t.pages || at+length > t.size || length > longestRecord {
		return page{}, fmt.Errorf("overflow of %d pages is out of bounds", p.overflow)
	}
	p.data = make([]byte, length)
	if _, err := t.r.ReadAt(p.data, at); err != nil {
		return page{}, err
	}
	return p, nil
}

func parsePage(data []byte) page {
	return page{
		id:       binary.NativeEndian.Uint64(data),
		flags:    binary.NativeEndian.Uint16(data[8:]),
		count:    int(binary.NativeEndian.Uint16(data[10:])),
		overflow: uint64(binary.NativeEndian.Uint32(data[12:])),
		data:     data,
	}
}

// element is a key of a page, with its value or the page below.
type element struct {
	key, value []byte
	bucket     bool
	child      uint64
}

// element reads number i, which is less than count.
func (p page) element(i int) (element, error) {
	at := pageHeader + i*elementSize
	if at+elementSize > len(p.data) {
		return element{}, errors.New("more keys than fit")
	}
	head := p.data[at:]
	u32 := func(offset int) uint64 { return uint64(binary.NativeEndian.Uint32(head[offset:])) }
	if p.flags == flagBranch {
		from, to := u32(0), u32(0)+u32(4)
		if to > uint64(len(head)) || from == to {
			return element{}, fmt.Errorf("key %d is out of bounds", i)
		}
		return element{key: head[from:to], child: binary.NativeEndian.Uint64(head[8:])}, nil
	}
	from, mid, to := u32(4), u32(4)+u32(8), u32(4)+u32(8)+u32(12)
	if to > uint64(len(head)) || from == mid {
		return element{}, fmt.Errorf("record %d is out of bounds", i)
	}
	return element{key: head[from:mid], value: head[mid:to], bucket: u32(0)&flagBucket != 0}, nil
}
