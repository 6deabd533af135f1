//go:build cgo

package main

import "slices"

// node is an instruction whose jumps name nodes instead of distances. Only a
// branch has yes; what doesn't return goes on at no. JA doesn't occur.
type node struct {
	code    uint16
	k       uint32
	yes, no int
}

// graph is a program that holds no instruction twice. A node comes after all
// nodes that it leads to.
type graph struct {
	code   []instruction // what copy copies from
	nodes  []node
	ids    map[node]int
	copies map[int]int // by place in code
}

func newGraph(code []instruction) *graph {
	return &graph{code: code, ids: make(map[node]int), copies: make(map[int]int)}
}

// add returns the node that does what n does.
func (g *graph) add(n node) int {
	if n.isBranch() && n.yes == n.no {
		return n.no
	}
	id, known := g.ids[n]
	if !known {
		id = len(g.nodes)
		g.nodes = append(g.nodes, n)
		g.ids[n] = id
	}
	return id
}

func (n node) isBranch() bool { return instruction{code: n.code}.isBranch() }

// copy takes over what the code does from pc on.
func (g *graph) copy(pc int) int {
	id, done := g.copies[pc]
	if done {
		return id
	}
	switch i := g.code[pc]; {
	case i.code == ret:
		id = g.add(node{code: ret, k: i.k})
	case i.code == jumpAlways:
		id = g.copy(pc + 1 + int(i.k))
	case i.isBranch():
		yes := g.copy(pc + 1 + int(i.jt))
		id = g.add(node{code: i.code, k: i.k, yes: yes, no: g.copy(pc + 1 + int(i.jf))})
	default:
		id = g.add(node{code: i.code, k: i.k, no: g.copy(pc + 1)})
	}
	g.copies[pc] = id
	return id
}

// layOut writes the nodes that the last one leads to, from the end forward,
// so that every distance is known when it is needed.
func (g *graph) layOut() []instruction {
	used := make([]bool, len(g.nodes))
	used[len(g.nodes)-1] = true
	for id, n := range slices.Backward(g.nodes) {
		if used[id] && n.code != ret {
			used[n.no] = true
			if n.isBranch() {
				used[n.yes] = true
			}
		}
	}
	l := &layout{graph: g, places: make([]int, len(g.nodes))}
	for id, n := range g.nodes {
		if used[id] {
			l.put(id, n)
		}
	}
	slices.Reverse(l.reversed)
	return l.reversed
}

type layout struct {
	graph    *graph
	reversed []instruction
	places   []int // in reversed, by node
}

// distance is the jump from the instruction that comes next in reversed.
func (l *layout) distance(place int) int { return len(l.reversed) - place - 1 }

func (l *layout) put(id int, n node) {
	i := instruction{code: n.code, k: n.k}
	switch {
	case n.code == ret:
	case n.isBranch():
		yes, no := l.near(n.yes), l.near(n.no)
		i.jt, i.jf = uint8(l.distance(yes)), uint8(l.distance(no))
	default:
		if d := l.distance(l.places[n.no]); d > 0 {
			l.reversed = append(l.reversed, instruction{code: jumpAlways, k: uint32(d)})
		}
	}
	l.places[id] = len(l.reversed)
	l.reversed = append(l.reversed, i)
}

// near returns a place that leads to a node and that a branch reaches, also
// after one more instruction: a branch jumps over 255 at most.
func (l *layout) near(id int) int {
	place := l.places[id]
	d := l.distance(place)
	if d+1 <= 255 {
		return place
	}
	place = len(l.reversed)
	if n := l.graph.nodes[id]; n.code == ret {
		l.reversed = append(l.reversed, instruction{code: ret, k: n.k})
		l.places[id] = place // nearer for the next one too
	} else {
		l.reversed = append(l.reversed, instruction{code: jumpAlways, k: uint32(d)})
	}
	return place
}
