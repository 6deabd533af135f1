package gvariant

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads a string in quotes of either kind.
func (p *parser) quoted() (string, error) {
	end := p.rest[0]
	var b strings.Builder
	for s := p.rest[1:]; s != ""; {
		switch s[0] {
		case end:
			p.rest = s[1:]
			if text := b.String(); utf8.ValidString(text) {
				return text, nil
			}
			return "", errors.New("a string that is not UTF-8")
		case '\\':
			text, rest, err := escape(s[1:])
			if err != nil {
				return "", err
			}
			b.WriteString(text)
			s = rest
		default:
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return "", errEnd
}

// escape reads what follows a backslash.
func escape(s string) (text, rest string, err error) {
	if s == "" {
		return "", "", errEnd
	}
	if i := strings.IndexByte("abfnrtv", s[0]); i >= 0 {
		return "\a\b\f\n\r\t\v"[i : i+1], s[1:], nil
	}
	digits := 0
	switch s[0] {
	case '\n':
		return "", s[1:], nil
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		_, size := utf8.DecodeRuneInString(s)
		return s[:size], s[size:], nil
	}
	if len(s) < 1+digits {
		return "", "", errEnd
	}
	n, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(n)) {
		return "", "", fmt.Errorf("%q is not a character", `\`+s[:1+digits])
	}
	return string(rune(n)), s[1+digits:], nil
}
