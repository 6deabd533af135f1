package events

import "time"

// expectation is for subscribers of a manager of another kind, which kept no places for them.
type expectation struct {
	first uint64 // the number of the first event that they have missed
	until time.Time
}

// ExpectStrangers is called by a manager that has taken over from one of another kind: until so long from now, whoever
// subscribes and has no place is told all since the log was opened, for he may have been cut off by the death of that one.
func (l *Log) ExpectStrangers(so time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers = expectation{first: l.opened, until: time.Now().Add(so)}
}

// firstFor is where one begins who has no place. The log is locked.
func (l *Log) firstFor(now time.Time) uint64 {
	if now.Before(l.strangers.until) {
		return max(l.strangers.first, l.segments[0].first)
	}
	return l.tail().next()
}
