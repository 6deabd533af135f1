package ports

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"strings"
)

// The kernel's own settings for numbers that it chooses, variables for tests.
var (
	localRange    = "/proc/sys/net/ipv4/ip_local_port_range"
	reservedPorts = "/proc/sys/net/ipv4/ip_local_reserved_ports"
)

// bounds are the numbers to choose from.
func (p Port) bounds() (from, to uint16) {
	if p.Host.Port() != 0 {
		return p.Host.Port(), p.End
	}
	b, err := os.ReadFile(localRange)
	if err == nil {
		_, err = fmt.Fscan(bytes.NewReader(b), &from, &to)
	}
	if err != nil || from == 0 || from > to {
		return 32768, 60999
	}
	return from, to
}

// numbers are those to try, in order. A range is tried from its beginning. Any port is the one after the last, as
// dockerd's: numbers that were given back are not used again at once.
func (p *Ports) numbers(asked Port) iter.Seq[uint16] {
	from, to := asked.bounds()
	first, skip := from, func(uint16) bool { return false }
	if asked.Host.Port() == 0 {
		if last := p.last[asked.Protocol]; last >= from && last < to {
			first = last + 1
		}
		skip = reserved()
	}
	return func(yield func(uint16) bool) {
		count := int(to) - int(from) + 1
		for i := range count {
			n := int(first) + i
			if n > int(to) {
				n -= count
			}
			if !skip(uint16(n)) && !yield(uint16(n)) {
				return
			}
		}
	}
}

// reserved says which numbers the administrator does not want to be chosen.
func reserved() func(uint16) bool {
	b, err := os.ReadFile(reservedPorts)
	if err != nil {
		return func(uint16) bool { return false }
	}
	type span struct{ from, to uint16 }
	var spans []span
	for word := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
		var s span
		if n, _ := fmt.Sscanf(word, "%d-%d", &s.from, &s.to); n == 1 {
			s.to = s.from
		}
		spans = append(spans, s)
	}
	return func(n uint16) bool {
		for _, s := range spans {
			if n >= s.from && n <= s.to {
				return true
			}
		}
		return false
	}
}
