package plan

import (
	"strconv"
	"strings"
)

// deviceNumber renders a device number of a rule, where -1 stands for any.
func deviceNumber(n int64) string {
	if n == -1 {
		return "*"
	}
	return strconv.FormatInt(n, 10)
}

func number(n uint32) string   { return strconv.FormatUint(uint64(n), 10) }
func signed(n int64) string    { return strconv.FormatInt(n, 10) }
func count(n int) string       { return strconv.Itoa(n) }
func number64(n uint64) string { return strconv.FormatUint(n, 10) }
func octal(n uint32) string    { return "0" + strconv.FormatUint(uint64(n), 8) }

// join renders a list, one word an element.
func join[T any](list []T, render func(*T) string) string {
	words := make([]string, len(list))
	for i := range list {
		words[i] = render(&list[i])
	}
	return strings.Join(words, " ")
}

// index renders the JSON path of a list's element.
func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
