package attach

import (
	"fmt"
	"strings"
)

// defaultKeys are ctrl-p, ctrl-q.
var defaultKeys = []byte{16, 17}

// controlKeys are the characters that go with ctrl, by code.
const controlKeys = `@abcdefghijklmnopqrstuvwxyz[\]^_`

// parseKeys reads keys as "ctrl-p,ctrl-q" or "a,DEL".
func parseKeys(typed string) ([]byte, error) {
	if typed == "" {
		return defaultKeys, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(typed, ",") {
		control, isControl := strings.CutPrefix(key, "ctrl-")
		switch {
		case len(key) == 1:
			keys = append(keys, key[0])
		case key == "DEL":
			keys = append(keys, 127)
		case isControl && len(control) == 1 && strings.Contains(controlKeys, control):
			keys = append(keys, byte(strings.Index(controlKeys, control)))
		default:
			return nil, fmt.Errorf("unknown character: %q", key)
		}
	}
	return keys, nil
}
