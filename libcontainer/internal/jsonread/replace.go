package jsonread

import "slices"

// Replace returns a document, whose syntax is known to be good, with another value at a
// path of object keys. What is missing on the way, or null, is made; everything else stays
// byte for byte. The document itself is not changed.
func Replace(data []byte, path []string, value []byte) []byte {
	if len(path) == 0 {
		return value
	}
	r := New(data)
	if r.peek() != '{' {
		return Replace([]byte("{}"), path, value)
	}
	inside, separator := r.pos+1, ""
	from, to := -1, -1
	for key, ok := r.Object(); ok; key, ok = r.Member() {
		separator = ","
		r.peek()
		start := r.pos
		r.Skip()
		if key == path[0] { // of several the last one counts
			from, to = start, r.pos
		}
	}
	if from >= 0 {
		return slices.Concat(data[:from], Replace(data[from:to], path[1:], value), data[to:])
	}
	member := append(AppendString(nil, &path[0]), ':')
	member = append(member, Replace(nil, path[1:], value)...)
	return slices.Concat(data[:inside], member, []byte(separator), data[inside:])
}
