package gvariant

import (
	"errors"
	"fmt"
	"strings"
)

// Parse reads one value in the text format, glib's "GVariant Text Format". A number without
// a type is an int32, or a double when it has a point or an exponent.
func Parse(text string) (Value, error) {
	p := &parser{rest: text}
	n, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	if p.peek() != 0 {
		return Value{}, fmt.Errorf("%q after the value", p.rest)
	}
	sig, _, err := n.guess()
	if err != nil {
		return Value{}, err
	}
	return n.build(sig)
}

// node is a value whose type is not known yet.
type node struct {
	// kind is '0' for a number, 's' for a string, 'y' for a byte string, else the value's
	// first character: t, f, [, {, (, <.
	kind  byte
	sig   string // what an annotation says, or ""
	text  string // of a number or string, unquoted
	items []node // of a dictionary: keys and values in turn
}

type parser struct {
	rest string
}

var errEnd = errors.New("the value ends too early")

// peek skips white space and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

// take skips the byte when it is the next one.
func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// value reads one value with its annotation.
func (p *parser) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, errors.New("nested too deeply")
	}
	c := p.peek()
	switch {
	case c == 0:
		return node{}, errEnd
	case c == '\'' || c == '"':
		text, err := p.quoted()
		return node{kind: 's', text: text}, err
	case c == 'b' && len(p.rest) > 1 && (p.rest[1] == '\'' || p.rest[1] == '"'):
		p.rest = p.rest[1:]
		text, err := p.quoted()
		return node{kind: 'y', text: text}, err
	case c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.':
		return node{kind: '0', text: p.word()}, nil
	case strings.IndexByte("[{(<", c) >= 0:
		p.rest = p.rest[1:]
		return p.container(c, depth)
	}
	return p.named(depth)
}

// named reads true, false, or a type and the value that it is about.
func (p *parser) named(depth int) (node, error) {
	word := p.word()
	switch word {
	case "true", "false":
		return node{kind: word[0]}, nil
	}
	sig, err := annotation(word)
	if err != nil {
		return node{}, err
	}
	n, err := p.value(depth + 1)
	if err == nil && n.sig != "" {
		err = fmt.Errorf("%q: a second type for one value", word)
	}
	n.sig = sig
	return n, err
}

// annotation reads a type: "uint64" or "@t".
func annotation(word string) (string, error) {
	if sig, ok := strings.CutPrefix(word, "@"); ok {
		first, rest, err := Next(sig)
		if err == nil && rest != "" {
			err = fmt.Errorf("%q is more than one type", sig)
		}
		return first, err
	}
	for _, k := range keywords() {
		if k.name == word {
			return string(k.code), nil
		}
	}
	return "", fmt.Errorf("%q is neither a value nor a type", word)
}

// word reads up to white space or punctuation; "@a{sv}" is one word.
func (p *parser) word() string {
	stops := " \t\r\n,:[]{}()<>'\""
	if p.rest[0] == '@' {
		stops = " \t\r\n"
	}
	n := strings.IndexAny(p.rest, stops)
	if n == 0 {
		n = 1 // a stray delimiter is a word that means nothing
	}
	if n < 0 {
		n = len(p.rest)
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}

// container reads what follows an opening bracket.
func (p *parser) container(begin byte, depth int) (node, error) {
	n := node{kind: begin}
	end := map[byte]byte{'[': ']', '{': '}', '(': ')', '<': '>'}[begin]
	for !p.take(end) {
		if len(n.items) > 0 && !p.take(',') {
			return n, fmt.Errorf("%c or a comma expected at %q", end, p.rest)
		}
		if begin == '(' && p.take(end) { // (1,) is a struct of one member
			break
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return n, err
		}
		n.items = append(n.items, item)
		if begin != '{' {
			continue
		}
		if !p.take(':') {
			return n, fmt.Errorf(": expected at %q", p.rest)
		}
		if item, err = p.value(depth + 1); err != nil {
			return n, err
		}
		n.items = append(n.items, item)
	}
	if begin == '<' && len(n.items) != 1 || begin == '(' && len(n.items) == 0 {
		return n, fmt.Errorf("%c%c has %d values", begin, end, len(n.items))
	}
	return n, nil
}
