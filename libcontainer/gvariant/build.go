package gvariant

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// guess tells the type of a value from its form. It is sure when something in the value
// leaves no choice; a number's type is taken from its neighbours in an array that are.
func (n *node) guess() (sig string, sure bool, err error) {
	if n.sig != "" {
		return n.sig, true, nil
	}
	switch n.kind {
	case '0':
		if isFloat(n.text) {
			return "d", true, nil
		}
		return "i", false, nil
	case 's':
		return "s", false, nil
	case 't', 'f':
		return "b", true, nil
	case 'y':
		return "ay", true, nil
	case '<':
		return "v", true, nil
	case '(':
		return n.guessStruct()
	case '{':
		key, keySure, err := common(n.items, 0, 2)
		if err != nil {
			return "", false, err
		}
		value, valueSure, err := common(n.items, 1, 2)
		return "a{" + key + value + "}", keySure && valueSure, err
	default:
		sig, sure, err := common(n.items, 0, 1)
		return "a" + sig, sure, err
	}
}

func (n *node) guessStruct() (sig string, sure bool, err error) {
	sig, sure = "(", true
	for i := range n.items {
		member, memberSure, err := n.items[i].guess()
		if err != nil {
			return "", false, err
		}
		sig, sure = sig+member, sure && memberSure
	}
	return sig + ")", sure, nil
}

// common is the type of the elements from first on, each step-th: that of one which is
// sure, or else of the first.
func common(items []node, first, step int) (sig string, sure bool, err error) {
	if first >= len(items) {
		return "", false, fmt.Errorf("an empty array or dictionary needs a type, such as @as []")
	}
	for i := first; i < len(items); i += step {
		s, sure, err := items[i].guess()
		if err != nil || sure {
			return s, sure, err
		}
		if sig == "" {
			sig = s
		}
	}
	return sig, false, nil
}

func isFloat(number string) bool {
	return !strings.HasPrefix(strings.TrimLeft(number, "+-"), "0x") && strings.ContainsAny(number, ".eE")
}

// mismatch says that a value can't be of a type.
func (n *node) mismatch(sig string) error {
	return fmt.Errorf("%s is no value of type %q", n.describe(), sig)
}

func (n *node) describe() string {
	switch n.kind {
	case '0':
		return n.text
	case 's', 'y':
		return strconv.Quote(n.text)
	case 't', 'f':
		return "a boolean"
	}
	return "what begins with " + string(n.kind)
}

// build makes the value, of the type.
func (n *node) build(sig string) (Value, error) {
	v := Value{Type: sig}
	if n.sig != "" && n.sig != sig {
		return v, n.mismatch(sig)
	}
	var err error
	switch {
	case n.kind == '0':
		v.Bits, err = n.number(sig)
	case n.kind == 's' && validText(n.text, sig):
		v.Text = n.text
	case (n.kind == 't' || n.kind == 'f') && sig == "b":
		v = Bool(n.kind == 't')
	case n.kind == 'y' && sig == "ay":
		v = Bytes([]byte(n.text + "\x00")) // glib's byte strings end in NUL
	case n.kind == '<' && sig == "v":
		inner, _, guessErr := n.items[0].guess()
		if guessErr != nil {
			return v, guessErr
		}
		v.Items, err = buildAll(n.items, inner)
	case n.kind == '[' && sig[0] == 'a' && sig[1] != '{':
		v.Items, err = buildAll(n.items, sig[1:])
	case n.kind == '{' && sig[0] == 'a' && sig[1] == '{':
		v.Items, err = n.entries(sig[1:])
	case n.kind == '(' && sig[0] == '(':
		v.Items, err = n.members(sig)
	default:
		err = n.mismatch(sig)
	}
	return v, err
}

// validText reports whether a string, object path or signature may be on the bus, whose
// other end hangs up on a message with one that may not.
func validText(text, sig string) bool {
	if strings.IndexByte(text, 0) >= 0 {
		return false
	}
	switch sig {
	case "s":
		return true
	case "o":
		return validPath(text)
	case "g":
		for text != "" {
			var err error
			if _, text, err = Next(text); err != nil {
				return false
			}
		}
		return true
	}
	return false
}

// validPath reports whether text is "/" or names of letters, digits and _ after slashes.
func validPath(text string) bool {
	if text == "/" {
		return true
	}
	elements := strings.Split(text, "/")
	for i, e := range elements {
		bad := strings.IndexFunc(e, func(r rune) bool {
			return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})
		if (e == "") != (i == 0) || bad >= 0 {
			return false
		}
	}
	return len(elements) > 1
}

func buildAll(items []node, sig string) ([]Value, error) {
	list := make([]Value, len(items))
	for i := range items {
		var err error
		if list[i], err = items[i].build(sig); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (n *node) members(sig string) ([]Value, error) {
	types := Members(sig)
	if len(types) != len(n.items) {
		return nil, n.mismatch(sig)
	}
	list := make([]Value, len(types))
	for i := range types {
		var err error
		if list[i], err = n.items[i].build(types[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (n *node) entries(sig string) ([]Value, error) {
	list := make([]Value, 0, len(n.items)/2)
	for i := 0; i < len(n.items); i += 2 {
		entry := node{kind: '{', items: n.items[i : i+2]}
		members, err := entry.members(sig)
		if err != nil {
			return nil, err
		}
		list = append(list, Value{Type: sig, Items: members})
	}
	return list, nil
}

// number reads a number of the type: decimal, 0x hexadecimal or 0 octal.
func (n *node) number(sig string) (bits uint64, err error) {
	size := map[string]int{"y": 8, "n": 16, "q": 16, "i": 32, "u": 32, "x": 64, "t": 64, "d": 64}[sig]
	digits := strings.TrimPrefix(n.text, "+")
	switch {
	case size == 0 || strings.Contains(n.text, "_"): // which Go would take for a separator
		err = strconv.ErrSyntax
	case sig == "d":
		var f float64
		f, err = strconv.ParseFloat(digits, 64)
		bits = math.Float64bits(f)
	case strings.Contains("nix", sig):
		var i int64
		i, err = strconv.ParseInt(digits, 0, size)
		bits = uint64(i)
	default:
		bits, err = strconv.ParseUint(digits, 0, size)
	}
	if err != nil {
		return 0, n.mismatch(sig)
	}
	return bits, nil
}
