package jsonread

import "strconv"

// locator walks a document a second time to learn the paths of some offsets.
type locator struct {
	r    *Reader
	todo []problem // sorted by offset
	path []byte
	done FieldErrors
}

// locate turns problems, which the reader collects in the order of the document,
// into errors with paths. The syntax of data is known to be good.
func locate(data []byte, problems []problem, prefix string) FieldErrors {
	l := &locator{r: New(data), todo: problems, path: []byte(prefix)}
	l.value()
	return l.done
}

func (l *locator) value() {
	switch l.r.peek() {
	case '{':
		l.here()
		mark := len(l.path)
		for key, ok := l.r.Object(); ok && len(l.todo) > 0; key, ok = l.r.Member() {
			l.path = appendStep(l.path, key)
			l.value()
			l.path = l.path[:mark]
		}
	case '[':
		l.here()
		mark := len(l.path)
		_, ok := l.r.Array()
		for i := 0; ok && len(l.todo) > 0; i, ok = i+1, l.r.Element() {
			l.path = append(l.path, '[')
			l.path = strconv.AppendInt(l.path, int64(i), 10)
			l.path = append(l.path, ']')
			l.value()
			l.path = l.path[:mark]
		}
	default:
		l.here()
		l.r.Skip()
	}
}

// here reports the problems of the value at the reader, and of the key before it.
func (l *locator) here() {
	for len(l.todo) > 0 && l.todo[0].offset <= l.r.pos {
		l.done = append(l.done, &FieldError{Path: string(l.path), Problem: l.todo[0].text})
		l.todo = l.todo[1:]
	}
}

// appendStep adds an object key to a path: .key, or ["key"] where that is clearer.
func appendStep(path []byte, key string) []byte {
	simple := key != ""
	for i := range len(key) {
		c := key[i]
		simple = simple && (c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z')
	}
	if !simple || len(key) > 64 {
		path = append(path, '[')
		path = strconv.AppendQuote(path, cut(key))
		return append(path, ']')
	}
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, key...)
}
