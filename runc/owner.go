package main

import (
	"os"
	"strconv"
	"strings"
)

// userNames is the text of /etc/passwd, passwd(5). It is read here as os/user would
// start with every command, for list's last column.
type userNames string

func readUserNames() userNames {
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return "" // every owner is then a number
	}
	return userNames(text)
}

// of returns the user's name, or #uid.
func (names userNames) of(uid uint32) string {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(string(names)) {
		if f := strings.SplitN(line, ":", 4); len(f) == 4 && f[2] == want {
			return f[0]
		}
	}
	return "#" + want
}
