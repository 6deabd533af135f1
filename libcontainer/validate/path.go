package validate

import "strconv"

// element is the JSON path of an element of a list.
func element(list string, i int) string {
	return list + "[" + strconv.Itoa(i) + "]"
}

// member is the JSON path of a member of an object: path.key, or path["key"] where
// that is clearer. The same keys are quoted as in the paths of package bundle.
func member(path, key string) string {
	simple := key != ""
	for i := range len(key) {
		c := key[i]
		simple = simple && (c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z')
	}
	if !simple || len(key) > maxQuoted {
		return path + "[" + quote(key) + "]"
	}
	return path + "." + key
}

// maxQuoted is how many bytes of a value a message shows.
const maxQuoted = 64

// quote shows a value of the config in a message, its begin if it is long.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}
