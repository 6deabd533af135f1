//go:build cgo

package main

import (
	"math"
	"slices"
)

// libseccomp compares one number after another, or walks a tree of single
// numbers. The kernel checks, translates and tries out all of that whenever a
// container starts, so compact says the same in fewer instructions: one tree
// of number ranges per architecture, then libseccomp's own code for the calls
// whose arguments matter, and nothing twice.
//
// It is exact: as long as a program hasn't loaded an argument, its way depends
// on comparisons of architecture and number with constants alone, so a number
// between two neighbouring constants stands for all numbers between them.

// compact returns a program that answers every call as code does. archs are
// the architectures that code knows, the likeliest first. A program of
// another form than expected comes back as it is, and so does one that would
// not shrink.
func compact(code []instruction, archs []uint32) []instruction {
	c := &compactor{code: code, archs: archs, starts: rangeStarts(code), graph: newGraph(code)}
	other := uint32(0) // stands for all architectures outside the list
	for slices.Contains(archs, other) {
		other++
	}
	spans := c.spans(other)
	if len(spans) != 1 {
		return code
	}
	next := spans[0].node
	for _, arch := range slices.Backward(archs) {
		spans := c.spans(arch)
		if spans == nil {
			return code
		}
		block := c.tree(spans)
		if len(spans) > 1 {
			block = c.graph.add(node{code: loadWord, k: dataNumber, no: block})
		}
		next = c.graph.add(node{code: jumpEqual, k: arch, yes: block, no: next})
	}
	c.graph.add(node{code: loadWord, k: dataArch, no: next})
	if out := c.graph.layOut(); len(out) < len(code) {
		return out
	}
	return code
}

type compactor struct {
	code   []instruction
	archs  []uint32
	starts []uint32
	graph  *graph
}

// span is a range of numbers, up to the next span, with one continuation.
type span struct {
	start uint32
	node  int
}

// rangeStarts is every number at which some comparison of a program may
// change its result, and 0, in order.
func rangeStarts(code []instruction) []uint32 {
	starts := []uint32{0}
	for _, i := range code {
		if !i.isBranch() {
			continue
		}
		starts = append(starts, i.k)
		if i.k < math.MaxUint32 {
			starts = append(starts, i.k+1)
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// spans is what an architecture's numbers lead to, or nil if that can't be
// told.
func (c *compactor) spans(arch uint32) []span {
	var spans []span
	for _, start := range c.starts {
		pc, ok := c.decide(arch, start)
		if !ok {
			return nil
		}
		node := c.graph.copy(pc)
		if len(spans) == 0 || spans[len(spans)-1].node != node {
			spans = append(spans, span{start, node})
		}
	}
	return spans
}

// decide follows the program for a number, to the place where it answers or
// looks at something else than architecture and number. What was loaded
// before has no effect from there on. ok is false if the program does
// something with either but compare it.
func (c *compactor) decide(arch, number uint32) (pc int, ok bool) {
	var value uint32
	loaded := -1 // the offset of what value was loaded from
	for pc < len(c.code) {
		i := c.code[pc]
		taken := false
		switch i.code {
		case ret:
			return pc, true
		case loadWord:
			switch i.k {
			case dataArch:
				value = arch
			case dataNumber:
				value = number
			default:
				return pc, true
			}
			loaded = int(i.k)
			pc++
			continue
		case jumpAlways:
			pc += 1 + int(i.k)
			continue
		case jumpEqual:
			taken = value == i.k
		case jumpGreater:
			taken = value > i.k
		case jumpAtLeast:
			taken = value >= i.k
		default:
			return 0, false
		}
		// Architectures outside the list are tried through one of them.
		if loaded < 0 || loaded == dataArch && (i.code != jumpEqual || !slices.Contains(c.archs, i.k)) {
			return 0, false
		}
		if taken {
			pc += 1 + int(i.jt)
		} else {
			pc += 1 + int(i.jf)
		}
	}
	return 0, false
}

// tree finds the span of the loaded number.
func (c *compactor) tree(spans []span) int {
	n := len(spans)
	if n == 1 {
		return spans[0].node
	}
	if n == 3 && spans[0].node == spans[2].node && spans[2].start == spans[1].start+1 {
		return c.graph.add(node{code: jumpEqual, k: spans[1].start, yes: spans[1].node, no: spans[0].node})
	}
	yes := c.tree(spans[n/2:])
	return c.graph.add(node{code: jumpAtLeast, k: spans[n/2].start, yes: yes, no: c.tree(spans[:n/2])})
}
