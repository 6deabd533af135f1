package names

import (
	"crypto/rand"
	"encoding/hex"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// ID is a new id of 64 hexadecimal digits. Its first twelve are never all decimal, so that it is not taken for a
// number as a host name.
func ID() string {
	for {
		var b [32]byte
		_, _ = rand.Read(b[:])
		id := hex.EncodeToString(b[:])
		for _, c := range id[:12] {
			if c > '9' {
				return id
			}
		}
	}
}

// Chars is what names are made of, as messages tell it.
const Chars = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

var valid = regexp.MustCompile("^" + Chars + "+$")

// Valid says that a container or a volume may have a name.
func Valid(name string) bool { return valid.MatchString(name) }

// Check says no to what cannot be the name of a container. A slash in front is allowed.
func Check(name string) error {
	if !Valid(strings.TrimPrefix(name, "/")) {
		return fault.Errorf(errdefs.ErrInvalidArgument, "Invalid container name (%s), only %s are allowed", name, Chars)
	}
	return nil
}

// Random is a name for a container without one: two words. With attempts it gets a number as well, so that a free name
// is found even when most are taken.
func Random(attempt int) string {
	name := pick(qualities) + "_" + pick(things)
	if attempt > 0 {
		name += strconv.Itoa(number(10 * attempt))
	}
	return name
}

func pick(words []string) string { return words[number(len(words))] }

func number(below int) int {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(below)))
	if err != nil { // The kernel's generator does not fail.
		return 0
	}
	return int(n.Int64())
}
