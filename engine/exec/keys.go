package exec

import (
	"fmt"
	"strings"
)

// defaultKeys end a session at a terminal when none were asked for: ctrl-p, ctrl-q.
var defaultKeys = []byte{16, 17}

// Keys reads a sequence of keys ("ctrl-p,ctrl-q", "a,ctrl-@"): the bytes that a terminal sends for them. Empty for "".
func Keys(text string) ([]byte, error) {
	keys := []byte{}
	if text == "" {
		return keys, nil
	}
	for key := range strings.SplitSeq(text, ",") {
		letter, control := strings.CutPrefix(key, "ctrl-")
		switch {
		case control && len(letter) == 1 && letter[0] >= 'a' && letter[0] <= 'z':
			keys = append(keys, letter[0]-'a'+1)
		case control && len(letter) == 1 && letter[0] >= '@' && letter[0] <= '_' && (letter[0] == '@' || letter[0] > 'Z'):
			keys = append(keys, letter[0]-'@')
		case len(key) == 1:
			keys = append(keys, key[0])
		case key == "DEL":
			keys = append(keys, 127)
		default:
			return nil, fmt.Errorf("unknown character: '%s'", key)
		}
	}
	return keys, nil
}
