package keeper

// escape finds the keys that end a session in what the client types.
type escape struct {
	keys []byte
	// at is how many of the keys were typed last. They are held back: the process sees them when others follow.
	at int
}

// filter is what of the input goes to the process, and whether the keys are complete. What follows them is dropped.
func (e *escape) filter(b []byte) (out []byte, detached bool) {
	if len(e.keys) == 0 {
		return b, false
	}
	out = make([]byte, 0, len(b)+e.at)
	for _, c := range b {
		if c != e.keys[e.at] {
			out = append(out, e.keys[:e.at]...)
			e.at = 0
			if c != e.keys[0] {
				out = append(out, c)
				continue
			}
		}
		if e.at++; e.at == len(e.keys) {
			return out, true
		}
	}
	return out, false
}
